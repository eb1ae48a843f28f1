/* Devices. */
#ifndef HW_QDEV_CORE_H
#define HW_QDEV_CORE_H

#include "hw/resettable.h"
#include "qemu/bitops.h"
#include "qom/object.h"

#define TYPE_DEVICE "device"
DECLARE_OBJ_CHECKERS(DeviceState, DeviceClass, DEVICE, TYPE_DEVICE)

typedef enum DeviceCategory {
    DEVICE_CATEGORY_BRIDGE,
    DEVICE_CATEGORY_USB,
    DEVICE_CATEGORY_STORAGE,
    DEVICE_CATEGORY_NETWORK,
    DEVICE_CATEGORY_INPUT,
    DEVICE_CATEGORY_DISPLAY,
    DEVICE_CATEGORY_SOUND,
    DEVICE_CATEGORY_MISC,
    DEVICE_CATEGORY_CPU,
    DEVICE_CATEGORY_WATCHDOG,
    DEVICE_CATEGORY_MAX
} DeviceCategory;

typedef void (*DeviceRealize)(DeviceState *device, Error **errp);
typedef void (*DeviceUnrealize)(DeviceState *device);
typedef void (*DeviceReset)(DeviceState *device);

struct DeviceClass {
    ObjectClass parent_class;
    ResettableClass resettable;
    DECLARE_BITMAP(categories, DEVICE_CATEGORY_MAX);
    const char *fw_name;
    const char *desc;
    const Property *props_;
    size_t props_count_;
    bool user_creatable;
    bool hotpluggable;
    union {
        DeviceReset reset;
        DeviceReset legacy_reset;
    };
    DeviceRealize realize;
    DeviceUnrealize unrealize;
    const VMStateDescription *vmsd;
    const char *bus_type;
};

typedef struct MemReentrancyGuard {
    bool engaged_in_io;
} MemReentrancyGuard;

struct DeviceState {
    Object parent_obj;
    char *id;
    bool realized;
    MemReentrancyGuard mem_reentrancy_guard;
};

struct BusState {
    Object parent_obj;
    DeviceState *parent;
    char *name;
};

/* `props` is an array, with or without DEFINE_PROP_END_OF_LIST() at its end. */
#define device_class_set_props(class, props) \
    qemu_device_set_props(class, props, ARRAY_SIZE(props))
#define device_class_set_props_n(class, props, count) qemu_device_set_props(class, props, count)
void qemu_device_set_props(DeviceClass *class, const Property *props, size_t count);
void device_class_set_legacy_reset(DeviceClass *class, DeviceReset reset);
void device_class_set_parent_reset(DeviceClass *class, DeviceReset reset, DeviceReset *parent);
void device_class_set_parent_realize(DeviceClass *class, DeviceRealize realize,
                                     DeviceRealize *parent);
void device_class_set_parent_unrealize(DeviceClass *class, DeviceUnrealize unrealize,
                                       DeviceUnrealize *parent);
void device_cold_reset(DeviceState *device);
BusState *qdev_get_parent_bus(const DeviceState *device);
#define qdev_get_machine() NULL

#endif
