/* Properties, which `--property NAME=VALUE` sets: those of objects and classes, and of devices. */
#include "hw/qdev-properties.h"
#include "internal.h"

struct ObjectProperty {
    const char *name;
    const char *type;
    const char *description;
    ObjectPropertyAccessor *set;
    void *opaque;
    ObjectProperty *next;
};

static ObjectProperty *add(ObjectProperty **list, const char *name, const char *type,
                           ObjectPropertyAccessor *set, void *opaque)
{
    ObjectProperty *property = g_new0(ObjectProperty, 1);
    *property = (ObjectProperty){
        .name = g_strdup(name), .type = type, .set = set, .opaque = opaque, .next = *list,
    };
    *list = property;
    return property;
}

ObjectProperty *object_property_add(Object *object, const char *name, const char *type,
                                    ObjectPropertyAccessor *get, ObjectPropertyAccessor *set,
                                    ObjectPropertyRelease *release, void *opaque)
{
    return add(&object->properties, name, type, set, opaque);
}

ObjectProperty *object_class_property_add(ObjectClass *class, const char *name, const char *type,
                                          ObjectPropertyAccessor *get,
                                          ObjectPropertyAccessor *set,
                                          ObjectPropertyRelease *release, void *opaque)
{
    return add(&class->properties, name, type, set, opaque);
}

static void set_bool(Object *object, Visitor *visitor, const char *name, void *opaque,
                     Error **errp)
{
    void (*set)(Object *, bool, Error **) = (void (*)(Object *, bool, Error **))opaque;
    bool value;
    if (visit_type_bool(visitor, name, &value, errp)) {
        set(object, value, errp);
    }
}

static void set_str(Object *object, Visitor *visitor, const char *name, void *opaque,
                    Error **errp)
{
    void (*set)(Object *, const char *, Error **) =
        (void (*)(Object *, const char *, Error **))opaque;
    set(object, visitor->text, errp);
}

static ObjectProperty *add_bool(ObjectProperty **list, const char *name,
                                void (*set)(Object *, bool, Error **))
{
    return add(list, name, "bool", set ? set_bool : NULL, (void *)set);
}

static ObjectProperty *add_str(ObjectProperty **list, const char *name,
                               void (*set)(Object *, const char *, Error **))
{
    return add(list, name, "string", set ? set_str : NULL, (void *)set);
}

ObjectProperty *object_property_add_bool(Object *object, const char *name,
                                         bool (*get)(Object *, Error **),
                                         void (*set)(Object *, bool, Error **))
{
    return add_bool(&object->properties, name, set);
}

ObjectProperty *object_class_property_add_bool(ObjectClass *class, const char *name,
                                               bool (*get)(Object *, Error **),
                                               void (*set)(Object *, bool, Error **))
{
    return add_bool(&class->properties, name, set);
}

ObjectProperty *object_property_add_str(Object *object, const char *name,
                                        char *(*get)(Object *, Error **),
                                        void (*set)(Object *, const char *, Error **))
{
    return add_str(&object->properties, name, set);
}

ObjectProperty *object_class_property_add_str(ObjectClass *class, const char *name,
                                              char *(*get)(Object *, Error **),
                                              void (*set)(Object *, const char *, Error **))
{
    return add_str(&class->properties, name, set);
}

/* Properties that are a number in memory. */
#define POINTER_PROPERTY(bits) \
    static void set_uint##bits(Object *object, Visitor *visitor, const char *name, void *opaque, \
                               Error **errp) \
    { \
        visit_type_uint##bits(visitor, name, opaque, errp); \
    } \
    ObjectProperty *object_property_add_uint##bits##_ptr( \
        Object *object, const char *name, const uint##bits##_t *at, ObjectPropertyFlags flags) \
    { \
        bool writable = (flags & OBJ_PROP_FLAG_WRITE) != 0; \
        return add(&object->properties, name, "uint" #bits, writable ? set_uint##bits : NULL, \
                   (void *)at); \
    }
POINTER_PROPERTY(8)
POINTER_PROPERTY(16)
POINTER_PROPERTY(32)
POINTER_PROPERTY(64)

static ObjectProperty *find_in(ObjectProperty *list, const char *name)
{
    while (list && strcmp(list->name, name) != 0) {
        list = list->next;
    }
    return list;
}

void object_property_set_description(Object *object, const char *name, const char *text)
{
    ObjectProperty *property = find_in(object->properties, name);
    if (property) {
        property->description = text;
    }
}

void object_class_property_set_description(ObjectClass *class, const char *name,
                                           const char *text)
{
    ObjectProperty *property = find_in(class->properties, name);
    if (property) {
        property->description = text;
    }
}

/* Calls a function for each class of an object's, until it returns true. */
static bool each_class(Object *object, bool (*function)(ObjectClass *, void *), void *argument)
{
    ObjectClass *class = object->class;
    while (class && !function(class, argument)) {
        class = object_class_get_parent(class);
    }
    return class != NULL;
}

/* The properties of a device's class that are not its parent's. */
static const Property *own_props(ObjectClass *class, size_t *count)
{
    *count = 0;
    if (!object_class_dynamic_cast(class, TYPE_DEVICE)) {
        return NULL;
    }
    ObjectClass *parent = object_class_get_parent(class);
    const Property *props = DEVICE_CLASS(class)->props_;
    if (object_class_dynamic_cast(parent, TYPE_DEVICE) &&
        props == DEVICE_CLASS(parent)->props_) {
        return NULL;
    }
    while (*count < DEVICE_CLASS(class)->props_count_ && props[*count].name) {
        ++*count;
    }
    return props;
}

struct setting {
    Object *object;
    const char *name;
    const char *text;
};

static bool set_in_class(ObjectClass *class, void *argument)
{
    struct setting *setting = argument;
    size_t count;
    const Property *props = own_props(class, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(props[i].name, setting->name) == 0) {
            void *field = (char *)setting->object + props[i].offset;
            if (!props[i].info->parse(&props[i], field, setting->text)) {
                fatal("invalid value of the property \"%s\": %s; expected a value of type %s",
                      setting->name, setting->text, props[i].info->type);
            }
            return true;
        }
    }
    ObjectProperty *property = find_in(class->properties, setting->name);
    if (!property && class == setting->object->class) {
        property = find_in(setting->object->properties, setting->name);
    }
    if (property && !property->set) {
        fatal("the property \"%s\" can only be read", setting->name);
    }
    if (property) {
        Error *error = NULL;
        Visitor visitor = { setting->text };
        property->set(setting->object, &visitor, setting->name, property->opaque, &error);
        if (error) {
            fail_with("--property", error);
        }
    }
    return property != NULL;
}

static bool print_class(ObjectClass *class, void *argument)
{
    size_t count;
    const Property *props = own_props(class, &count);
    for (size_t i = 0; i < count; i++) {
        fprintf(stderr, "  %s=<%s>\n", props[i].name, props[i].info->type);
    }
    Object *object = argument;
    ObjectProperty *lists[] = { class->properties,
                                class == object->class ? object->properties : NULL };
    for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
        for (ObjectProperty *p = lists[i]; p; p = p->next) {
            if (p->set) {
                fprintf(stderr, "  %s=<%s>%s%s\n", p->name, p->type, p->description ? "  " : "",
                        p->description ? p->description : "");
            }
        }
    }
    return false;
}

void print_properties(Object *object)
{
    each_class(object, print_class, object);
}

void set_property(Object *object, const char *name, const char *text)
{
    struct setting setting = { object, name, text };
    if (!each_class(object, set_in_class, &setting)) {
        fprintf(stderr, "the type \"%s\" has these properties:\n", object_get_typename(object));
        print_properties(object);
        fatal("there is no property \"%s\"; expected one of the above", name);
    }
}

static bool set_defaults_of(ObjectClass *class, void *argument)
{
    size_t count;
    const Property *props = own_props(class, &count);
    for (size_t i = 0; i < count; i++) {
        void *field = (char *)argument + props[i].offset;
        if (!props[i].set_default) {
            continue;
        }
        if (props[i].info == &qdev_prop_bit || props[i].info == &qdev_prop_bit64) {
            props[i].info->parse(&props[i], field, props[i].defval.u ? "on" : "off");
        } else {
            /* Numbers, with the lowest byte first. */
            uint64_t value = cpu_to_le64(props[i].defval.u);
            memcpy(field, &value, props[i].info->size);
        }
    }
    return false;
}

void set_default_properties(Object *object)
{
    each_class(object, set_defaults_of, object);
}
