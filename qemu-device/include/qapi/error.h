/* Errors on their way to the user. */
#ifndef QAPI_ERROR_H
#define QAPI_ERROR_H

#include "qemu/osdep.h"

#define error_setg(errp, ...) \
    qemu_device_error_setg(errp, __FILE__, __LINE__, __func__, __VA_ARGS__)
#define error_setg_errno(errp, number, ...) \
    qemu_device_error_setg_errno(errp, number, __FILE__, __LINE__, __func__, __VA_ARGS__)
void qemu_device_error_setg(Error **errp, const char *file, int line, const char *function,
                            const char *format, ...) G_GNUC_PRINTF(5, 6);
void qemu_device_error_setg_errno(Error **errp, int number, const char *file, int line,
                                  const char *function, const char *format, ...)
    G_GNUC_PRINTF(6, 7);
const char *error_get_pretty(const Error *error);
void error_propagate(Error **to, Error *error);
void error_free(Error *error);
void error_prepend(Error **errp, const char *format, ...) G_GNUC_PRINTF(2, 3);
void error_append_hint(Error *const *errp, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Log an error and free it. */
void error_report_err(Error *error);
void warn_report_err(Error *error);

/* As the last argument of a call: an error ends the process with its message. */
extern Error *error_abort;
extern Error *error_fatal;

/* The caller may have given none. */
#define ERRP_GUARD() \
    Error *own_error_ = NULL; \
    if (!errp) { \
        errp = &own_error_; \
    }

#endif
