#error "ui/console.h: displays and input need the rest of QEMU; leave them out, or run this device inside of QEMU"
