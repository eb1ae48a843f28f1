#error "net/eth.h: network cards need the rest of QEMU; leave them out, or run this device inside of QEMU"
