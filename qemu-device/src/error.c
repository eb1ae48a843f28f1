/* Errors, and the end of the program that they can be. */
#include "hw/hw.h"
#include "internal.h"

struct Error {
    char *message;
};

Error *error_abort;
Error *error_fatal;

void fatal(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "error: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    exit(1);
}

void fail_with(const char *before, Error *error)
{
    fatal("%s: %s", before, error->message);
}

static void set(Error **errp, const char *file, int line, const char *function, char *message)
{
    if (errp == &error_abort) {
        fprintf(stderr, "error: %s:%d: %s(): %s\n", file, line, function, message);
        abort();
    }
    if (errp == &error_fatal) {
        fatal("%s", message);
    }
    if (!errp || *errp) {
        g_free(message);
        return;
    }
    *errp = g_new0(Error, 1);
    (*errp)->message = message;
}

void qemu_device_error_setg(Error **errp, const char *file, int line, const char *function,
                            const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    set(errp, file, line, function, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

void qemu_device_error_setg_errno(Error **errp, int number, const char *file, int line,
                                  const char *function, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    set(errp, file, line, function, g_strdup_printf("%s: %s", what, strerror(number)));
}

const char *error_get_pretty(const Error *error)
{
    return error->message;
}

void error_free(Error *error)
{
    if (error) {
        g_free(error->message);
        g_free(error);
    }
}

void error_propagate(Error **to, Error *error)
{
    if (error) {
        set(to, "?", 0, "error_propagate", g_strdup(error->message));
        error_free(error);
    }
}

void error_prepend(Error **errp, const char *format, ...)
{
    if (!errp || !*errp) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *before = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *after = (*errp)->message;
    (*errp)->message = g_strdup_printf("%s%s", before, after);
}

void error_append_hint(Error *const *errp, const char *format, ...)
{
    if (!errp || !*errp) {
        return;
    }
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *hint = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *message = (*errp)->message;
    (*errp)->message = g_strdup_printf("%s; %s", message, hint);
}

void error_report_err(Error *error)
{
    error_report("%s", error->message);
    error_free(error);
}

void warn_report_err(Error *error)
{
    warn_report("%s", error->message);
    error_free(error);
}

void hw_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "error: the device cannot go on: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    va_end(arguments);
    abort();
}

void qemu_device_assertion_failed(const char *what, const char *file, int line,
                                  const char *function)
{
    fprintf(stderr, "error: %s:%d: %s(): not true: %s\n", file, line, function, what);
    abort();
}
