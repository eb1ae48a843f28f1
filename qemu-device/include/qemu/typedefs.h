/* Names of types, which headers use before the types are complete. */
#ifndef QEMU_TYPEDEFS_H
#define QEMU_TYPEDEFS_H

typedef struct AddressSpace AddressSpace;
typedef struct BusState BusState;
typedef struct DeviceClass DeviceClass;
typedef struct DeviceState DeviceState;
typedef struct Error Error;
typedef struct EventNotifier EventNotifier;
typedef struct IRQState *qemu_irq;
typedef struct MemoryRegion MemoryRegion;
typedef struct MemoryRegionOps MemoryRegionOps;
typedef struct Object Object;
typedef struct ObjectClass ObjectClass;
typedef struct ObjectProperty ObjectProperty;
typedef struct PCIBus PCIBus;
typedef struct PCIDevice PCIDevice;
typedef struct PCIDeviceClass PCIDeviceClass;
typedef struct Property Property;
typedef struct QEMUBH QEMUBH;
typedef struct QEMUTimer QEMUTimer;
typedef struct ResettableClass ResettableClass;
typedef struct TypeImpl *Type;
typedef struct TypeInfo TypeInfo;
typedef struct Visitor Visitor;
typedef struct VMStateDescription VMStateDescription;
typedef struct VMStateField VMStateField;

#endif
