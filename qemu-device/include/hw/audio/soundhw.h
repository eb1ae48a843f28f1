#error "hw/audio/soundhw.h: sound cards need the rest of QEMU; leave them out, or run this device inside of QEMU"
