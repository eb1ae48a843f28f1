/* Draws five numbers from the driver, two times with the same seed. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>

#define NODE "/dev/my_rng_driver"
#define GET_RANDOM _IOR('q', 1, unsigned int)
#define SET_SEED _IOW('q', 1, unsigned int)

int main(void)
{
	/* TODO: open NODE */

	/* TODO: two rounds: SET_SEED with 42, then five times GET_RANDOM and print the number */

	return 0;
}
