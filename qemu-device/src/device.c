/* Devices without a bus: their class, their properties, their reset. */
#include "hw/qdev-properties.h"
#include "internal.h"

void qemu_device_set_props(DeviceClass *class, const Property *props, size_t count)
{
    class->props_ = props;
    class->props_count_ = count;
}

void device_class_set_legacy_reset(DeviceClass *class, DeviceReset reset)
{
    class->legacy_reset = reset;
}

void device_class_set_parent_reset(DeviceClass *class, DeviceReset reset, DeviceReset *parent)
{
    *parent = class->legacy_reset;
    class->legacy_reset = reset;
}

void device_class_set_parent_realize(DeviceClass *class, DeviceRealize realize,
                                     DeviceRealize *parent)
{
    *parent = class->realize;
    class->realize = realize;
}

void device_class_set_parent_unrealize(DeviceClass *class, DeviceUnrealize unrealize,
                                       DeviceUnrealize *parent)
{
    *parent = class->unrealize;
    class->unrealize = unrealize;
}

ResettableClass *qemu_device_resettable_class(ObjectClass *class)
{
    return &DEVICE_CLASS(class)->resettable;
}

void resettable_class_set_parent_phases(ResettableClass *class,
                                        void (*enter)(Object *, ResetType), void (*hold)(),
                                        void (*exit)(), ResettablePhases *parent)
{
    *parent = class->phases;
    class->phases.enter = enter ? enter : class->phases.enter;
    class->phases.hold = hold ? hold : class->phases.hold;
    class->phases.exit = exit ? exit : class->phases.exit;
}

void device_cold_reset(DeviceState *device)
{
    DeviceClass *class = DEVICE_GET_CLASS(device);
    Object *object = OBJECT(device);
    const ResettablePhases *phases = &class->resettable.phases;
    if (phases->enter) {
        phases->enter(object, RESET_TYPE_COLD);
    }
    if (phases->hold) {
        phases->hold(object, RESET_TYPE_COLD);
    }
    if (phases->exit) {
        phases->exit(object, RESET_TYPE_COLD);
    }
    if (class->legacy_reset) {
        class->legacy_reset(device);
    }
}

static void device_init(Object *object)
{
    set_default_properties(object);
}

static void device_class_init(ObjectClass *class, const void *data)
{
    DEVICE_CLASS(class)->user_creatable = true;
    DEVICE_CLASS(class)->hotpluggable = true;
}

static const TypeInfo types[] = {
    { .name = TYPE_RESETTABLE_INTERFACE, .parent = TYPE_INTERFACE, .abstract = true },
    {
        .name = TYPE_DEVICE,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(DeviceState),
        .instance_init = device_init,
        .class_size = sizeof(DeviceClass),
        .class_init = device_class_init,
        .abstract = true,
        .interfaces = (const InterfaceInfo[]){ { TYPE_RESETTABLE_INTERFACE }, { } },
    },
};

DEFINE_TYPES(types)
