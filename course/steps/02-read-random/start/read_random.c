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
	/* TODO: open the file argv[1], and map 4096 bytes of it */

	/* TODO: read RANDOM five times, and print each number in a line of its own */

	return 0;
}
