#error "hw/virtio/virtio-pci.h: virtio devices in C need the rest of QEMU; leave them out, or run this device inside of QEMU"
