/* Text. */
#ifndef QEMU_CUTILS_H
#define QEMU_CUTILS_H

#include "qemu/osdep.h"

/* Copies text, cut to a buffer of `size` bytes with its end. */
static inline void pstrcpy(char *buffer, int size, const char *text)
{
    if (size > 0) {
        snprintf(buffer, size, "%s", text);
    }
}

static inline char *pstrcat(char *buffer, int size, const char *text)
{
    int length = strlen(buffer);
    if (length < size) {
        pstrcpy(buffer + length, size - length, text);
    }
    return buffer;
}

static inline bool buffer_is_zero(const void *buffer, size_t length)
{
    const uint8_t *byte = buffer;
    for (size_t i = 0; i < length; i++) {
        if (byte[i]) {
            return false;
        }
    }
    return true;
}

#endif
