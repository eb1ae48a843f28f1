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
	/* TODO: map BAR 0 */

	/* TODO: seed, read 1 byte, print; seed, read 2 bytes, print; then 4 and 8 */

	return 0;
}
