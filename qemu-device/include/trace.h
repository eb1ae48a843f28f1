#error "trace.h: trace events are declared in the tree of QEMU; log with qemu_log_mask(), or run this device inside of QEMU"
