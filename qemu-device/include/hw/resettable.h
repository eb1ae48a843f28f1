/* Reset in three phases. */
#ifndef HW_RESETTABLE_H
#define HW_RESETTABLE_H

#include "qom/object.h"

#define TYPE_RESETTABLE_INTERFACE "resettable"

typedef enum ResetType {
    RESET_TYPE_COLD,
    RESET_TYPE_SNAPSHOT_LOAD,
    RESET_TYPE_WAKEUP,
} ResetType;

/* `hold` and `exit` take (Object *) until QEMU 9.0, (Object *, ResetType) since: both fit. */
typedef struct ResettablePhases {
    void (*enter)(Object *object, ResetType type);
    void (*hold)();
    void (*exit)();
} ResettablePhases;

struct ResettableClass {
    ResettablePhases phases;
};

ResettableClass *qemu_device_resettable_class(ObjectClass *class);
#define RESETTABLE_CLASS(class) qemu_device_resettable_class(OBJECT_CLASS(class))
#define RESETTABLE_GET_CLASS(object) RESETTABLE_CLASS(object_get_class(OBJECT(object)))
void resettable_class_set_parent_phases(ResettableClass *class,
                                        void (*enter)(Object *, ResetType), void (*hold)(),
                                        void (*exit)(), ResettablePhases *parent);

#endif
