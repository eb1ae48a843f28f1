/* Types, classes and objects. */
#ifndef QEMU_OBJECT_H
#define QEMU_OBJECT_H

#include "qapi/error.h"
#include "qemu/module.h"
#include "qemu/osdep.h"

#define TYPE_OBJECT "object"
#define TYPE_INTERFACE "interface"

typedef void ObjectFree(void *object);
typedef void ObjectPropertyAccessor(Object *object, Visitor *visitor, const char *name,
                                    void *opaque, Error **errp);
typedef void ObjectPropertyRelease(Object *object, const char *name, void *opaque);

typedef struct InterfaceInfo {
    const char *type;
} InterfaceInfo;

struct ObjectClass {
    Type type;
    ObjectProperty *properties;
};

struct Object {
    ObjectClass *class;
    ObjectProperty *properties;
    Object *parent;
};

struct TypeInfo {
    const char *name;
    const char *parent;
    size_t instance_size;
    size_t instance_align;
    void (*instance_init)(Object *object);
    void (*instance_post_init)(Object *object);
    void (*instance_finalize)(Object *object);
    bool abstract;
    size_t class_size;
    /* (ObjectClass *, void *) until QEMU 10.0, (ObjectClass *, const void *) since: both fit. */
    void (*class_init)();
    void (*class_base_init)();
    const void *class_data;
    const InterfaceInfo *interfaces;
};

Type type_register(const TypeInfo *info);
Type type_register_static(const TypeInfo *info);
void type_register_static_array(const TypeInfo *infos, int count);

Object *object_new(const char *type);
void object_ref(void *object);
void object_unref(void *object);
const char *object_get_typename(const Object *object);
ObjectClass *object_get_class(Object *object);
const char *object_class_get_name(ObjectClass *class);
ObjectClass *object_class_get_parent(ObjectClass *class);
ObjectClass *object_class_by_name(const char *name);
Object *object_dynamic_cast(Object *object, const char *type);
ObjectClass *object_class_dynamic_cast(ObjectClass *class, const char *type);
/* End the process with place and names when the type is another one. */
Object *object_dynamic_cast_assert(Object *object, const char *type, const char *file, int line,
                                   const char *function);
ObjectClass *object_class_dynamic_cast_assert(ObjectClass *class, const char *type,
                                              const char *file, int line, const char *function);
void object_initialize_child_with_size(Object *parent, void *child, size_t size, const char *type);

#define OBJECT(object) ((Object *)(object))
#define OBJECT_CLASS(class) ((ObjectClass *)(class))
#define OBJECT_CHECK(type, object, name) \
    ((type *)object_dynamic_cast_assert(OBJECT(object), (name), __FILE__, __LINE__, __func__))
#define OBJECT_CLASS_CHECK(class_type, class, name) \
    ((class_type *)object_class_dynamic_cast_assert(OBJECT_CLASS(class), (name), __FILE__, \
                                                    __LINE__, __func__))
#define OBJECT_GET_CLASS(class_type, object, name) \
    OBJECT_CLASS_CHECK(class_type, object_get_class(OBJECT(object)), name)
#define INTERFACE_CHECK(type, object, name) OBJECT_CHECK(type, object, name)
#define object_initialize_child(parent, name, child, type) \
    object_initialize_child_with_size(parent, child, sizeof(*(child)), type)

#define DECLARE_INSTANCE_CHECKER(InstanceType, NAME, type_name) \
    static inline G_GNUC_UNUSED InstanceType *NAME(const void *object) \
    { \
        return OBJECT_CHECK(InstanceType, object, type_name); \
    }
#define DECLARE_CLASS_CHECKERS(ClassType, NAME, type_name) \
    static inline G_GNUC_UNUSED ClassType *NAME##_GET_CLASS(const void *object) \
    { \
        return OBJECT_GET_CLASS(ClassType, object, type_name); \
    } \
    static inline G_GNUC_UNUSED ClassType *NAME##_CLASS(const void *class) \
    { \
        return OBJECT_CLASS_CHECK(ClassType, class, type_name); \
    }
#define DECLARE_OBJ_CHECKERS(InstanceType, ClassType, NAME, type_name) \
    DECLARE_INSTANCE_CHECKER(InstanceType, NAME, type_name) \
    DECLARE_CLASS_CHECKERS(ClassType, NAME, type_name)
#define OBJECT_DECLARE_TYPE(InstanceType, ClassType, NAME) \
    typedef struct InstanceType InstanceType; \
    typedef struct ClassType ClassType; \
    DECLARE_OBJ_CHECKERS(InstanceType, ClassType, NAME, TYPE_##NAME)
#define OBJECT_DECLARE_SIMPLE_TYPE(InstanceType, NAME) \
    typedef struct InstanceType InstanceType; \
    DECLARE_INSTANCE_CHECKER(InstanceType, NAME, TYPE_##NAME)

#define DEFINE_TYPES(infos) \
    static void infos##_register_types(void) \
    { \
        type_register_static_array(infos, ARRAY_SIZE(infos)); \
    } \
    type_init(infos##_register_types)
#define OBJECT_DEFINE_TYPE_EXTENDED(Name, name, NAME, PARENT_NAME, is_abstract, ...) \
    static void name##_init(Object *object); \
    static void name##_finalize(Object *object); \
    static void name##_class_init(); \
    static const TypeInfo name##_info = { \
        .name = TYPE_##NAME, \
        .parent = TYPE_##PARENT_NAME, \
        .instance_size = sizeof(Name), \
        .instance_init = name##_init, \
        .instance_finalize = name##_finalize, \
        .class_init = name##_class_init, \
        .abstract = is_abstract, \
        .interfaces = (const InterfaceInfo[]){ __VA_ARGS__ }, \
    }; \
    static void name##_register_types(void) \
    { \
        type_register_static(&name##_info); \
    } \
    type_init(name##_register_types)
#define OBJECT_DEFINE_SIMPLE_TYPE_WITH_INTERFACES(Name, name, NAME, PARENT_NAME, ...) \
    OBJECT_DEFINE_TYPE_EXTENDED(Name, name, NAME, PARENT_NAME, false, __VA_ARGS__)
#define OBJECT_DEFINE_SIMPLE_TYPE(Name, name, NAME, PARENT_NAME) \
    OBJECT_DEFINE_TYPE_EXTENDED(Name, name, NAME, PARENT_NAME, false, { NULL })

/* Properties: `--property NAME=VALUE` sets them before the device is realized. */
typedef enum {
    OBJ_PROP_FLAG_READ = 1,
    OBJ_PROP_FLAG_WRITE = 2,
    OBJ_PROP_FLAG_READWRITE = 3,
} ObjectPropertyFlags;

ObjectProperty *object_property_add(Object *object, const char *name, const char *type,
                                    ObjectPropertyAccessor *get, ObjectPropertyAccessor *set,
                                    ObjectPropertyRelease *release, void *opaque);
ObjectProperty *object_class_property_add(ObjectClass *class, const char *name, const char *type,
                                          ObjectPropertyAccessor *get,
                                          ObjectPropertyAccessor *set,
                                          ObjectPropertyRelease *release, void *opaque);
ObjectProperty *object_property_add_bool(Object *object, const char *name,
                                         bool (*get)(Object *, Error **),
                                         void (*set)(Object *, bool, Error **));
ObjectProperty *object_class_property_add_bool(ObjectClass *class, const char *name,
                                               bool (*get)(Object *, Error **),
                                               void (*set)(Object *, bool, Error **));
ObjectProperty *object_property_add_str(Object *object, const char *name,
                                        char *(*get)(Object *, Error **),
                                        void (*set)(Object *, const char *, Error **));
ObjectProperty *object_class_property_add_str(ObjectClass *class, const char *name,
                                              char *(*get)(Object *, Error **),
                                              void (*set)(Object *, const char *, Error **));
ObjectProperty *object_property_add_uint8_ptr(Object *object, const char *name, const uint8_t *at,
                                              ObjectPropertyFlags flags);
ObjectProperty *object_property_add_uint16_ptr(Object *object, const char *name,
                                               const uint16_t *at, ObjectPropertyFlags flags);
ObjectProperty *object_property_add_uint32_ptr(Object *object, const char *name,
                                               const uint32_t *at, ObjectPropertyFlags flags);
ObjectProperty *object_property_add_uint64_ptr(Object *object, const char *name,
                                               const uint64_t *at, ObjectPropertyFlags flags);
void object_property_set_description(Object *object, const char *name, const char *text);
void object_class_property_set_description(ObjectClass *class, const char *name,
                                           const char *text);

#endif
