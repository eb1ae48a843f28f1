/* The numbers of my_rng. */
#include "qemu/osdep.h"
#include "generator.h"

uint32_t generator_next(Generator *generator)
{
    generator->state = generator->state * 6364136223846793005ULL + 1442695040888963407ULL;
    return generator->state >> 32;
}

void generator_start(Generator *generator, uint32_t seed)
{
    generator->state = seed;
}
