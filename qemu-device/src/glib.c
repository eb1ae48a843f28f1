/* Memory, text and numbers, as GLib and QEMU offer them. */
#include <sys/eventfd.h>
#include <sys/random.h>

#include "internal.h"
#include "qemu/event_notifier.h"
#include "qemu/guest-random.h"

static void *there(void *memory, size_t size)
{
    if (!memory && size != 0) {
        fatal("no memory for %zu bytes", size);
    }
    return memory;
}

void *g_malloc(size_t size)
{
    return there(malloc(size), size);
}

void *g_malloc0(size_t size)
{
    return there(calloc(1, size), size);
}

void *g_malloc_n(size_t count, size_t size)
{
    return there(reallocarray(NULL, count, size), count ? size : 0);
}

void *g_malloc0_n(size_t count, size_t size)
{
    return there(calloc(count, size), count ? size : 0);
}

void *g_realloc(void *memory, size_t size)
{
    return there(realloc(memory, size), size);
}

void *g_try_malloc(size_t size)
{
    return malloc(size);
}

void *g_try_malloc0(size_t size)
{
    return calloc(1, size);
}

void *g_memdup2(const void *memory, size_t size)
{
    return memory ? memcpy(g_malloc(size), memory, size) : NULL;
}

char *g_strdup(const char *text)
{
    return text ? there(strdup(text), 1) : NULL;
}

char *g_strndup(const char *text, size_t length)
{
    return text ? there(strndup(text, length), 1) : NULL;
}

char *g_strdup_vprintf(const char *format, va_list arguments)
{
    char *text;
    return vasprintf(&text, format, arguments) < 0 ? there(NULL, 1) : text;
}

char *g_strdup_printf(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    return text;
}

int qemu_guest_getrandom(void *buffer, size_t length, Error **errp)
{
    for (size_t done = 0; done < length;) {
        ssize_t got = getrandom((char *)buffer + done, length - done, 0);
        if (got < 0 && errno != EINTR) {
            error_setg_errno(errp, errno, "no random bytes");
            return -1;
        }
        done += got > 0 ? got : 0;
    }
    return 0;
}

void qemu_guest_getrandom_nofail(void *buffer, size_t length)
{
    qemu_guest_getrandom(buffer, length, &error_fatal);
}

uint32_t g_random_int(void)
{
    uint32_t number;
    qemu_guest_getrandom_nofail(&number, sizeof(number));
    return number;
}

int32_t g_random_int_range(int32_t begin, int32_t end)
{
    uint32_t width = (uint32_t)end - (uint32_t)begin;
    return begin + (int32_t)(width ? g_random_int() % width : 0);
}

double g_random_double(void)
{
    return g_random_int() / 4294967296.0;
}

void g_usleep(unsigned long microseconds)
{
    usleep(microseconds);
}

int64_t g_get_monotonic_time(void)
{
    return qemu_clock_get_us(QEMU_CLOCK_REALTIME);
}

int64_t g_get_real_time(void)
{
    return qemu_clock_get_us(QEMU_CLOCK_HOST);
}

int event_notifier_init(EventNotifier *notifier, int active)
{
    notifier->fd = eventfd(active ? 1 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
    return notifier->fd < 0 ? -errno : 0;
}

void event_notifier_cleanup(EventNotifier *notifier)
{
    close(notifier->fd);
    notifier->fd = -1;
}

int event_notifier_get_fd(const EventNotifier *notifier)
{
    return notifier->fd;
}

int event_notifier_set(EventNotifier *notifier)
{
    uint64_t one = 1;
    return write(notifier->fd, &one, sizeof(one)) < 0 && errno != EAGAIN ? -errno : 0;
}

int event_notifier_test_and_clear(EventNotifier *notifier)
{
    uint64_t count;
    return read(notifier->fd, &count, sizeof(count)) > 0;
}
