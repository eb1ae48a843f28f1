#error "hw/core/cpu.h: processors, the monitor, traces and the like need the rest of QEMU; leave them out, or run this device inside of QEMU"
