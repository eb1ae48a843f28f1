/* Reads RANDOM with 1, 2, 4 and 8 bytes, each after the seed 1. argv[1] is BAR 0. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s RESOURCE0\n", argv[0]);
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
	registers[1] = 1;
	printf("0x%x\n", *(volatile uint8_t *)registers);
	registers[1] = 1;
	printf("0x%x\n", *(volatile uint16_t *)registers);
	registers[1] = 1;
	printf("0x%x\n", registers[0]);
	registers[1] = 1;
	printf("0x%" PRIx64 "\n", *(volatile uint64_t *)registers);
	return 0;
}
