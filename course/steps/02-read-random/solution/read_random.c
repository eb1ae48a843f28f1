/* Reads five random numbers from the device. argv[1] is the path of BAR 0. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s RESOURCE0\n", argv[0]);
		return 2;
	}
	int fd = open(argv[1], O_RDONLY);

	if (fd < 0) {
		perror(argv[1]);
		return 1;
	}
	volatile uint32_t *registers = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

	if (registers == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (int i = 0; i < 5; i++)
		printf("%u\n", registers[0]);
	return 0;
}
