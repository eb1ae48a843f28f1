/*
 * my_rng, the teaching device (PCI 1234:cafe), in plain C: RANDOM gives a new number with every
 * read, SEED restarts the sequence. The numbers are those of the C library's rand().
 *
 *     cc skeleton.c $(pkg-config --cflags --libs vfio-user-device) -o my-rng
 *     ./my-rng --socket-path /tmp/my-rng.sock
 */
#include <stdlib.h>
#include <vfio_user_device.h>

#define RANDOM 0x0
#define SEED 0x4

struct my_rng {
    struct random_data generator;
    char state[128];
};

static uint64_t my_rng_read(void *opaque, struct vfio_user_bus *bus, uint32_t bar,
                            uint64_t offset, uint32_t width)
{
    struct my_rng *rng = (struct my_rng *)opaque;
    int32_t number = 0;

    (void)bus, (void)bar, (void)width;
    if (offset == RANDOM) {
        random_r(&rng->generator, &number);
    }
    return (uint32_t)number;
}

static void my_rng_write(void *opaque, struct vfio_user_bus *bus, uint32_t bar, uint64_t offset,
                         uint32_t width, uint64_t value)
{
    struct my_rng *rng = (struct my_rng *)opaque;

    (void)bus, (void)bar, (void)width;
    if (offset == SEED) {
        srandom_r((unsigned)value, &rng->generator);
    }
}

int main(int argc, char **argv)
{
    static struct my_rng rng;
    struct vfio_user_ops ops = { sizeof(ops), my_rng_read, my_rng_write };
    struct vfio_user_config config = { sizeof(config) };

    config.vendor_id = 0x1234;
    config.device_id = 0xcafe;
    config.revision = 0x10;
    config.bars[0].kind = VFIO_USER_BAR_MEMORY32;
    config.bars[0].size = 4096;
    initstate_r(1, rng.state, sizeof(rng.state), &rng.generator);
    return vfio_user_main(argc, argv, &config, &ops, &rng);
}
