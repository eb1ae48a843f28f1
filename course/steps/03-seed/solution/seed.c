/* Seeds the device and reads five numbers, two times. argv[1] is BAR 0, argv[2] the seed. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: %s RESOURCE0 SEED\n", argv[0]);
		return 2;
	}
	int fd = open(argv[1], O_RDWR);

	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	volatile uint32_t *registers =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (registers == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	uint32_t seed = strtoul(argv[2], NULL, 0);

	for (int round = 0; round < 2; round++) {
		registers[1] = seed;
		for (int i = 0; i < 5; i++)
			printf("%u\n", registers[0]);
	}
	return 0;
}
