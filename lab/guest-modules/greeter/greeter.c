// SPDX-License-Identifier: GPL-2.0-only
/* greeter - says hello as often and to whom its parameters say */

#include <linux/init.h>
#include <linux/module.h>

static uint count = 1;
module_param(count, uint, 0444);
MODULE_PARM_DESC(count, "How often it says hello, 10 times at most");

static char *whom = "world";
module_param(whom, charp, 0444);
MODULE_PARM_DESC(whom, "To whom");

static int __init greeter_init(void)
{
	uint i;

	for (i = 0; i < min(count, 10U); i++)
		pr_info("hello %s\n", whom);

	return 0;
}
module_init(greeter_init);

static void __exit greeter_exit(void)
{
	pr_info("goodbye\n");
}
module_exit(greeter_exit);

MODULE_DESCRIPTION("Says hello");
MODULE_LICENSE("GPL");
