/* Types, classes and objects: a list of types, whose classes are made when they are first used. */
#include "internal.h"

static Type types;

#define MAX_MODULES 64
static void (*modules[MAX_MODULES])(void);
static int module_count;

void qemu_device_add_module(void (*function)(void))
{
    if (module_count == MAX_MODULES) {
        fatal("more than %d type_init() in one program", MAX_MODULES);
    }
    modules[module_count++] = function;
}

void run_modules(void)
{
    for (int i = 0; i < module_count; i++) {
        modules[i]();
    }
}

static Type find_type(const char *name)
{
    for (Type type = types; name && type; type = type->next) {
        if (strcmp(type->info.name, name) == 0) {
            return type;
        }
    }
    return NULL;
}

Type type_register(const TypeInfo *info)
{
    if (!info->name) {
        fatal("a type has no name; set .name in its TypeInfo");
    }
    if (find_type(info->name)) {
        fatal("the type \"%s\" is registered twice; register each type once", info->name);
    }
    Type type = g_new0(struct TypeImpl, 1);
    type->info = *info;
    type->next = types;
    types = type;
    return type;
}

Type type_register_static(const TypeInfo *info)
{
    return type_register(info);
}

void type_register_static_array(const TypeInfo *infos, int count)
{
    for (int i = 0; i < count; i++) {
        type_register(&infos[i]);
    }
}

Type type_first(void)
{
    return types;
}

static Type parent_of(Type type)
{
    if (!type->parent && type->info.parent) {
        type->parent = find_type(type->info.parent);
        if (!type->parent) {
            fatal("the type \"%s\" has the parent \"%s\", which is not offered here; a PCI device "
                  "has TYPE_PCI_DEVICE",
                  type->info.name, type->info.parent);
        }
    }
    return type->parent;
}

bool type_is_a(Type type, const char *name)
{
    for (; type; type = parent_of(type)) {
        if (strcmp(type->info.name, name) == 0) {
            return true;
        }
        const InterfaceInfo *interface = type->info.interfaces;
        for (; interface && interface->type; interface++) {
            if (strcmp(interface->type, name) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* A size of the type, or of the closest ancestor that has one. */
static size_t size_of(Type type, size_t member)
{
    size_t size = 0;
    for (Type t = type; t; t = parent_of(t)) {
        size_t own = *(const size_t *)((const char *)&t->info + member);
        if (size == 0) {
            size = own;
        } else if (own > size) {
            const char *name = member == offsetof(TypeInfo, class_size) ? "class" : "instance";
            fatal("the type \"%s\" has a .%s_size of %zu, and its ancestor \"%s\" %zu; set it to "
                  "sizeof the structure, which begins with the parent's",
                  type->info.name, name, size, t->info.name, own);
        }
    }
    return size;
}

ObjectClass *type_class(Type type)
{
    if (type->class) {
        return type->class;
    }
    Type parent = parent_of(type);
    ObjectClass *class = g_malloc0(MAX(size_of(type, offsetof(TypeInfo, class_size)),
                                       sizeof(ObjectClass)));
    if (parent) {
        memcpy(class, type_class(parent), size_of(parent, offsetof(TypeInfo, class_size)));
    }
    class->type = type;
    class->properties = NULL;
    type->class = class;
    for (Type t = parent; t; t = parent_of(t)) {
        if (t->info.class_base_init) {
            t->info.class_base_init(class, t->info.class_data);
        }
    }
    if (type->info.class_init) {
        type->info.class_init(class, type->info.class_data);
    }
    return class;
}

static void initialize(Object *object, Type type)
{
    if (parent_of(type)) {
        initialize(object, parent_of(type));
    }
    if (type->info.instance_init) {
        type->info.instance_init(object);
    }
}

static void initialize_at(Object *object, Type type)
{
    object->class = type_class(type);
    initialize(object, type);
    for (Type t = type; t; t = parent_of(t)) {
        if (t->info.instance_post_init) {
            t->info.instance_post_init(object);
        }
    }
}

Object *object_new(const char *name)
{
    Type type = find_type(name);
    if (!type) {
        fatal("there is no type \"%s\"", name);
    }
    if (type->info.abstract) {
        fatal("the type \"%s\" is abstract: an object of it cannot be made", name);
    }
    Object *object = g_malloc0(size_of(type, offsetof(TypeInfo, instance_size)));
    initialize_at(object, type);
    return object;
}

void object_initialize_child_with_size(Object *parent, void *child, size_t size,
                                       const char *name)
{
    Type type = find_type(name);
    if (!type) {
        fatal("there is no type \"%s\"", name);
    }
    if (size < size_of(type, offsetof(TypeInfo, instance_size))) {
        fatal("%zu bytes are too few for an object of the type \"%s\"", size, name);
    }
    memset(child, 0, size);
    ((Object *)child)->parent = parent;
    initialize_at(child, type);
}

void object_delete(Object *object)
{
    for (Type type = object->class->type; type; type = parent_of(type)) {
        if (type->info.instance_finalize) {
            type->info.instance_finalize(object);
        }
    }
}

/* Objects live as long as the process. */
void object_ref(void *object)
{
}

void object_unref(void *object)
{
}

const char *object_get_typename(const Object *object)
{
    return object->class->type->info.name;
}

ObjectClass *object_get_class(Object *object)
{
    return object->class;
}

const char *object_class_get_name(ObjectClass *class)
{
    return class->type->info.name;
}

ObjectClass *object_class_get_parent(ObjectClass *class)
{
    Type parent = parent_of(class->type);
    return parent ? type_class(parent) : NULL;
}

ObjectClass *object_class_by_name(const char *name)
{
    Type type = find_type(name);
    return type ? type_class(type) : NULL;
}

ObjectClass *object_class_dynamic_cast(ObjectClass *class, const char *name)
{
    return class && class->type && type_is_a(class->type, name) ? class : NULL;
}

Object *object_dynamic_cast(Object *object, const char *name)
{
    return object && object_class_dynamic_cast(object->class, name) ? object : NULL;
}

static void wrong_type(const char *is, const char *name, const char *file, int line,
                       const char *function)
{
    fprintf(stderr, "error: %s:%d: %s(): an object of the type \"%s\" is not one of \"%s\"\n", file,
            line, function, is, name);
    abort();
}

Object *object_dynamic_cast_assert(Object *object, const char *name, const char *file, int line,
                                   const char *function)
{
    if (object && !object_dynamic_cast(object, name)) {
        bool known = object->class && object->class->type;
        wrong_type(known ? object_get_typename(object) : "?", name, file, line, function);
    }
    return object;
}

ObjectClass *object_class_dynamic_cast_assert(ObjectClass *class, const char *name,
                                              const char *file, int line, const char *function)
{
    if (class && !object_class_dynamic_cast(class, name)) {
        wrong_type(class->type ? class->type->info.name : "?", name, file, line, function);
    }
    return class;
}

static const TypeInfo roots[] = {
    { .name = TYPE_OBJECT,
      .instance_size = sizeof(Object),
      .class_size = sizeof(ObjectClass),
      .abstract = true },
    { .name = TYPE_INTERFACE, .class_size = sizeof(ObjectClass), .abstract = true },
};

static void register_roots(void)
{
    type_register_static_array(roots, ARRAY_SIZE(roots));
}

type_init(register_roots)
