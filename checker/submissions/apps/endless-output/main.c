#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define MY_RNG_RANDOM _IOR('q', 1, unsigned int)
#define MY_RNG_SEED _IOW('q', 1, unsigned int)

int main(void)
{
	unsigned int seed = 42, number;
	int fd = open("/dev/my_rng_driver", O_RDWR);

	if (fd < 0) {
		perror("/dev/my_rng_driver");
		return EXIT_FAILURE;
	}
	for (int round = 0; round < 2; round++) {
		if (ioctl(fd, MY_RNG_SEED, &seed) < 0) {
			perror("seed");
			return EXIT_FAILURE;
		}
		for (int i = 0; i >= 0; i += 0) {
			if (ioctl(fd, MY_RNG_RANDOM, &number) < 0) {
				perror("random");
				return EXIT_FAILURE;
			}
			printf("%200u\n", number);
		}
	}
	close(fd);
	return EXIT_SUCCESS;
}
