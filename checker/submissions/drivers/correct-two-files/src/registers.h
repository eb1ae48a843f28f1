#ifndef REGISTERS_H
#define REGISTERS_H

#include <linux/types.h>

int registers_map(void);
void registers_unmap(void);
u32 registers_random(void);
void registers_seed(u32 seed);

#endif
