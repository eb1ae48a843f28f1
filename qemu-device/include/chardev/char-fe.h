#error "chardev/char-fe.h: chardevs need the rest of QEMU; leave them out, or run this device inside of QEMU"
