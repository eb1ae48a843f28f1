#error "hw/block/block.h: block devices need the rest of QEMU; open a file instead, or run this device inside of QEMU"
