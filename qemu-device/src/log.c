/* The log: standard error until the server has one. */
#include "internal.h"

static bool to_server;

void log_to_server(void)
{
    qatomic_set(&to_server, true);
}

void qemu_device_log_line(const char *before, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *line = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *whole = g_strdup_printf("%s%s", before, line);
    if (qatomic_read(&to_server)) {
        bool is_error = strcmp(before, "error: ") == 0;
        vfio_user_log(is_error ? VFIO_USER_LOG_ERROR : VFIO_USER_LOG_WARN,
                      is_error ? line : whole);
    } else {
        fprintf(stderr, "%s\n", whole);
    }
}
