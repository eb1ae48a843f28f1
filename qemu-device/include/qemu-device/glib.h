/* The part of GLib that devices call, on the C library. */
#ifndef QEMU_DEVICE_GLIB_H
#define QEMU_DEVICE_GLIB_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu-device/compiler.h"

typedef int gboolean;
typedef char gchar;
typedef unsigned char guchar;
typedef int gint;
typedef unsigned int guint;
typedef size_t gsize;
typedef ssize_t gssize;
typedef double gdouble;
typedef void *gpointer;
typedef const void *gconstpointer;
typedef uint8_t guint8;
typedef uint16_t guint16;
typedef uint32_t guint32;
typedef uint64_t guint64;
typedef int8_t gint8;
typedef int16_t gint16;
typedef int32_t gint32;
typedef int64_t gint64;

#ifndef TRUE
#define TRUE 1
#define FALSE 0
#endif

/* Without memory the process ends, as with GLib. */
void *g_malloc(size_t size) __attribute__((malloc));
void *g_malloc0(size_t size) __attribute__((malloc));
void *g_malloc_n(size_t count, size_t size);
void *g_malloc0_n(size_t count, size_t size);
void *g_realloc(void *memory, size_t size);
void *g_try_malloc(size_t size);
void *g_try_malloc0(size_t size);
void *g_memdup2(const void *memory, size_t size);
char *g_strdup(const char *text);
char *g_strndup(const char *text, size_t length);
char *g_strdup_printf(const char *format, ...) G_GNUC_PRINTF(1, 2);
char *g_strdup_vprintf(const char *format, va_list arguments);

static inline void g_free(void *memory)
{
    free(memory);
}

static inline void qemu_device_auto_free(void *place)
{
    free(*(void **)place);
}

#define g_autofree __attribute__((cleanup(qemu_device_auto_free)))
#define g_new(type, count) ((type *)g_malloc_n(count, sizeof(type)))
#define g_new0(type, count) ((type *)g_malloc0_n(count, sizeof(type)))
#define g_renew(type, memory, count) ((type *)g_realloc(memory, sizeof(type) * (count)))
#define g_try_new0(type, count) ((type *)g_try_malloc0(sizeof(type) * (count)))
#define g_clear_pointer(place, destroy) \
    do { \
        __auto_type cleared_ = *(place); \
        *(place) = NULL; \
        if (cleared_) { \
            destroy(cleared_); \
        } \
    } while (0)
#define g_steal_pointer(place) \
    ({ __auto_type stolen_ = *(place); *(place) = NULL; stolen_; })

#define g_assert(condition) \
    ((condition) ? (void)0 : qemu_device_assertion_failed(#condition, __FILE__, __LINE__, __func__))
#define g_assert_not_reached() \
    qemu_device_assertion_failed("this line is not reached", __FILE__, __LINE__, __func__)
#define g_assert_cmpint(a, operation, b) g_assert((a) operation (b))
#define g_assert_cmpuint(a, operation, b) g_assert((a) operation (b))
#define g_assert_nonnull(pointer) g_assert((pointer) != NULL)
#define g_assert_null(pointer) g_assert((pointer) == NULL)
void qemu_device_assertion_failed(const char *what, const char *file, int line,
                                  const char *function) G_NORETURN;

#define g_strcmp0(a, b) strcmp((a) ? (a) : "", (b) ? (b) : "")
#define g_str_equal(a, b) (strcmp(a, b) == 0)
#define g_snprintf snprintf
#define g_print printf
#define g_printerr(...) fprintf(stderr, __VA_ARGS__)
#define g_warning(...) qemu_device_log_line("warning: ", __VA_ARGS__)
#define g_message(...) qemu_device_log_line("", __VA_ARGS__)
#define g_debug(...) qemu_device_log_line("", __VA_ARGS__)
void qemu_device_log_line(const char *before, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Numbers of the operating system. */
uint32_t g_random_int(void);
int32_t g_random_int_range(int32_t begin, int32_t end);
double g_random_double(void);
void g_usleep(unsigned long microseconds);
int64_t g_get_monotonic_time(void);
int64_t g_get_real_time(void);

#endif
