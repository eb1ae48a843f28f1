/* The program around a device: which type it is, its properties, and the server. */
#include "internal.h"

struct setting {
    const char *name;
    const char *value;
};

#define MAX_SETTINGS 64
/* How long a thread of the device may hold the big lock at the end. */
#define EXIT_MS 1000

bool is_kept;

struct options {
    const char *type;
    struct setting settings[MAX_SETTINGS];
    int setting_count;
    bool help;
    /* What is left for the server. */
    int argc;
    char **argv;
};

static bool is_device(Type type)
{
    return !type->info.abstract && type_is_a(type, TYPE_PCI_DEVICE);
}

static void print_types(void)
{
    for (Type type = type_first(); type; type = type->next) {
        if (is_device(type)) {
            const char *text = DEVICE_CLASS(type_class(type))->desc;
            fprintf(stderr, "  %s%s%s\n", type->info.name, text ? "  " : "", text ? text : "");
        }
    }
}

/* The type that is asked for, or the only one. */
static const char *choose_type(const char *name)
{
    const char *only = NULL;
    int count = 0;
    for (Type type = type_first(); type; type = type->next) {
        if (is_device(type)) {
            if (name && strcmp(type->info.name, name) == 0) {
                return name;
            }
            only = type->info.name;
            count++;
        }
    }
    if (count == 0) {
        fatal("there is no PCI device in this program; register a type whose parent is "
              "TYPE_PCI_DEVICE, with type_init()");
    }
    if (name || count > 1) {
        fprintf(stderr, "these types are PCI devices:\n");
        print_types();
    }
    if (name) {
        fatal("--type: no PCI device is called \"%s\"; expected one of the above", name);
    }
    if (count > 1) {
        fatal("there are %d PCI devices in this program; choose one with --type NAME", count);
    }
    return only;
}

/* The value of an option, as `--name VALUE` or `--name=VALUE`; NULL for another option. */
static char *value_of(const char *name, int argc, char **argv, int *at)
{
    size_t length = strlen(name);
    if (strncmp(argv[*at], name, length) != 0) {
        return NULL;
    }
    if (argv[*at][length] == '=') {
        return argv[*at] + length + 1;
    }
    if (argv[*at][length] != '\0') {
        return NULL;
    }
    if (*at + 1 >= argc) {
        fatal("%s needs a value", name);
    }
    return argv[++*at];
}

static void add_setting(struct options *options, char *text)
{
    char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        fatal("--property: invalid value: %s; expected NAME=VALUE", text);
    }
    if (options->setting_count == MAX_SETTINGS) {
        fatal("more than %d --property", MAX_SETTINGS);
    }
    *equals = '\0';
    options->settings[options->setting_count++] = (struct setting){ text, equals + 1 };
}

static void parse(struct options *options, int argc, char **argv)
{
    options->argv = g_new0(char *, argc + 1);
    for (int i = 0; i < argc; i++) {
        char *value;
        if (i > 0 && (value = value_of("--type", argc, argv, &i))) {
            options->type = value;
        } else if (i > 0 && (value = value_of("--property", argc, argv, &i))) {
            add_setting(options, value);
        } else {
            options->help |= strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0;
            options->argv[options->argc++] = argv[i];
        }
    }
}

static void print_help(Object *object)
{
    fprintf(stderr, "Options of the device:\n"
                    "      --type NAME            Which device, of several in one program:\n");
    print_types();
    fprintf(stderr, "      --property NAME=VALUE  Sets a property of the device:\n");
    print_properties(object);
    fprintf(stderr, "\n");
}

static void realize(Object *object)
{
    DeviceState *device = DEVICE(object);
    Error *error = NULL;
    DEVICE_GET_CLASS(device)->realize(device, &error);
    if (error) {
        fail_with(object_get_typename(object), error);
    }
    device->realized = true;
    device_cold_reset(device);
}

/* With --keeper, all that follows is done by each process that the keeper starts. */
static void begin(int argc, char **argv)
{
    int kept = vfio_user_begin(argc, argv);
    if (kept < 0) {
        fatal("%s", vfio_user_last_error());
    }
    is_kept = kept > 0;
}

static void unrealize(Object *object)
{
    DeviceUnrealize function = DEVICE_GET_CLASS(object)->unrealize;
    if (bql_lock_within(EXIT_MS)) {
        if (function) {
            function(DEVICE(object));
        }
        object_delete(object);
    }
}

int main(int argc, char **argv)
{
    struct options options = { 0 };
    parse(&options, argc, argv);
    begin(options.argc, options.argv);
    watch_for_crashes();
    own_rand();
    bql_lock();
    run_modules();
    Object *object = object_new(choose_type(options.type));
    if (options.help) {
        print_help(object);
        return vfio_user_main(options.argc, options.argv, NULL, NULL, NULL);
    }
    for (int i = 0; i < options.setting_count; i++) {
        set_property(object, options.settings[i].name, options.settings[i].value);
    }
    realize(object);
    struct vfio_user_config config;
    struct vfio_user_capability capabilities[MAX_CAPABILITIES];
    describe_device(PCI_DEVICE(object), &config, capabilities);
    bql_unlock();
    watch_callbacks();
    log_to_server();
    int status = vfio_user_main(options.argc, options.argv, &config, &session_ops, object);
    unrealize(object);
    return status;
}
