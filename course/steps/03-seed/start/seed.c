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
	/* TODO: map BAR 0 as in the step before; this time it is written, too */

	/* TODO: two times: write the seed to SEED, read RANDOM five times and print the numbers */

	return 0;
}
