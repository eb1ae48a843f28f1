#include <linux/errno.h>
#include <linux/io.h>

#include "registers.h"

static void __iomem *base;

int registers_map(void)
{
	base = ioremap(0xfebf1000, 8);
	return base ? 0 : -ENOMEM;
}

void registers_unmap(void)
{
	iounmap(base);
}

u32 registers_random(void)
{
	return readl(base);
}

void registers_seed(u32 seed)
{
	writel(seed, base + 4);
}
