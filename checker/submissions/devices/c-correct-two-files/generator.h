#ifndef GENERATOR_H
#define GENERATOR_H

typedef struct Generator {
    uint64_t state;
} Generator;

uint32_t generator_next(Generator *generator);
void generator_start(Generator *generator, uint32_t seed);

#endif
