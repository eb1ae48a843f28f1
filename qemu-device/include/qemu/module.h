/* What a file does before the program begins: register its types. */
#ifndef QEMU_MODULE_H
#define QEMU_MODULE_H

/* Has `function` called before main() chooses a device. */
void qemu_device_add_module(void (*function)(void));

#define type_init(function) \
    static void __attribute__((constructor)) qemu_device_init_##function(void) \
    { \
        qemu_device_add_module(function); \
    }
#define module_init(function, kind) type_init(function)
#define module_obj(name)
#define module_dep(name)
#define module_kconfig(name)

#endif
