/* Draws five numbers from the driver, two times with the same seed. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define NODE "/dev/my_rng_driver"
#define GET_RANDOM _IOR('q', 1, unsigned int)
#define SET_SEED _IOW('q', 1, unsigned int)

int main(void)
{
	unsigned int seed = 42, number;
	int fd = open(NODE, O_RDWR);

	if (fd < 0) {
		perror(NODE);
		return 1;
	}
	for (int round = 0; round < 2; round++) {
		if (ioctl(fd, SET_SEED, &seed) < 0) {
			perror("seed");
			return 1;
		}
		for (int i = 0; i < 5; i++) {
			if (ioctl(fd, GET_RANDOM, &number) < 0) {
				perror("random number");
				return 1;
			}
			printf("%u\n", number);
		}
	}
	return 0;
}
