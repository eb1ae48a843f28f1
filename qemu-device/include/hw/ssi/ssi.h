#error "hw/ssi/ssi.h: devices on a bus that is not PCI need the rest of QEMU; make it a PCI device, or run it inside of QEMU"
