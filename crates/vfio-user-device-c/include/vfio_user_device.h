/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause */
/*
 * vfio_user_device.h - a PCI device in a process of its own, for stock QEMU
 *
 *     cc device.c $(pkg-config --cflags --libs vfio-user-device) -o device
 *     ./device --socket-path /tmp/device.sock
 *     qemu-system-x86_64 ... \
 *         -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/tmp/device.sock"}}'
 *
 * A device is a configuration, a few callbacks and a pointer of its own (`opaque`) that each
 * callback is given. skeleton.c is a whole one.
 *
 * THREADS
 *     The callbacks are called one at a time, by one thread for one client at a time; not by the
 *     thread that called vfio_user_main(), and for the next client perhaps by another one. A `bus`
 *     is valid until the callback that it was given to returns, and in that thread alone. The only
 *     functions that other threads may call are vfio_user_waker_wake(), vfio_user_log() and
 *     vfio_user_last_error(). `save` and `restore` come from other threads, as they say.
 *
 *     A callback never waits: while the guest waits for a register, QEMU holds its big lock. What
 *     takes time begins in one callback and ends in another: a timer in `timer`, an access to guest
 *     memory in `dma_done`, work of another thread in `wake`.
 *
 * ERRORS
 *     A function that can fail returns 0 or a negative errno; vfio_user_last_error() has the
 *     message. What a client or a guest does wrong never ends the process.
 *
 * VERSIONS
 *     `struct_size` is sizeof the structure, as this header declares it. Later versions add members
 *     at the end; a program that was compiled with an older header goes on to work. Members that
 *     are 0 have their defaults. Set reserved ones to 0.
 */
#ifndef VFIO_USER_DEVICE_H
#define VFIO_USER_DEVICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The device's way out: interrupts, guest memory, time. */
struct vfio_user_bus;

/* What another thread wakes the device with. */
struct vfio_user_waker;

/* What a device says of itself to the process that takes its place. */
struct vfio_user_state;

#define VFIO_USER_BARS 6

/* Values of vfio_user_bar.kind */
#define VFIO_USER_BAR_NONE 0
#define VFIO_USER_BAR_MEMORY32 1
#define VFIO_USER_BAR_MEMORY64 2 /* takes the place of the next BAR, too */
#define VFIO_USER_BAR_IO 3

struct vfio_user_bar {
    uint64_t size;            /* bytes, a power of two */
    uint32_t kind;            /* VFIO_USER_BAR_... */
    uint8_t prefetchable;     /* reads have no side effects */
    uint8_t max_access_width; /* 1, 2, 4 (also if 0) or 8 bytes; wider accesses come in pieces */
    uint16_t reserved;
};

/* MSI-X: where the table (16 bytes a vector) and the pending bits lie. They are answered by the
 * library, not by the device. */
struct vfio_user_msix {
    uint16_t vectors; /* 0 for none, up to 2048 */
    uint16_t bar;
    uint32_t reserved;
    uint64_t table_offset; /* multiples of 8 */
    uint64_t pba_offset;
};

/* A capability that a driver only reads. */
struct vfio_user_capability {
    uint8_t id;
    uint8_t length; /* bytes of body, which is what follows id and next pointer */
    uint8_t reserved[6];
    const uint8_t *body;
};

struct vfio_user_config {
    size_t struct_size;
    uint16_t vendor_id;
    uint16_t device_id;
    uint16_t subsystem_vendor_id; /* with subsystem_id 0: 1af4:1100, as QEMU has it */
    uint16_t subsystem_id;
    uint32_t class_code; /* base class << 16 | sub-class << 8 | interface; 0x00ff00 if 0 */
    uint8_t revision;
    uint8_t intx;         /* 1: the device has the interrupt pin INTA# */
    uint16_t msi_vectors; /* 0 for none, 1, 2, 4, 8, 16 or 32 */
    struct vfio_user_msix msix;
    struct vfio_user_bar bars[VFIO_USER_BARS];
    const struct vfio_user_capability *capabilities;
    size_t capability_count;
};

/* Accesses are naturally aligned, lie in the BAR and are no wider than it allows. */
struct vfio_user_ops {
    size_t struct_size;
    /* The guest reads `width` bytes. Without it, reads give 0. */
    uint64_t (*read)(void *opaque, struct vfio_user_bus *bus, uint32_t bar, uint64_t offset,
                     uint32_t width);
    /* The guest writes `width` bytes. */
    void (*write)(void *opaque, struct vfio_user_bus *bus, uint32_t bar, uint64_t offset,
                  uint32_t width, uint64_t value);
    /* The device was reset. Timers, waits and accesses to guest memory are cancelled already. */
    void (*reset)(void *opaque, struct vfio_user_bus *bus);
    /* The timer with that number has fired. */
    void (*timer)(void *opaque, struct vfio_user_bus *bus, uint32_t id);
    /* An access to guest memory is done. `error` is 0 or a negative errno; `data` holds what was
     * read (or written), until this returns. */
    void (*dma_done)(void *opaque, struct vfio_user_bus *bus, uint64_t tag, int error,
                     const void *data, size_t length);
    /* The waker that the device waits for was used. */
    void (*wake)(void *opaque, struct vfio_user_bus *bus);
    /* The client has gone. Guest memory has gone with it; registers stay as they are. */
    void (*disconnect)(void *opaque, struct vfio_user_bus *bus);
    /* Another process takes the place of this one while the guest runs (SIGUSR2 asks for it), or the
     * client moves its guest to another server: the device says its state. No other callback runs
     * meanwhile, but this may come from another thread than theirs. 0, or a negative errno, after
     * which this process goes on; -EOPNOTSUPP, or no `save`, says that there is no state. */
    int (*save)(void *opaque, struct vfio_user_state *state);
    /* The device takes that state, before all other callbacks or after a reset. Timers and
     * interrupts are as they were; accesses to guest memory that had not ended, and the wait for a
     * waker, are gone: begin them here again. A state that a client has moved comes from that client:
     * check its numbers. 0, or a negative errno, after which the old process goes on. Fields that it
     * does not get are an error, too: the state is one of another device. */
    int (*restore)(void *opaque, struct vfio_user_bus *bus, const struct vfio_user_state *state);
    /* The driver reads configuration space: `data` has what it finds there, and may be changed. QEMU
     * answers for BARs, MSI and MSI-X itself. */
    void (*config_read)(void *opaque, struct vfio_user_bus *bus, uint32_t offset, void *data,
                        size_t length);
    /* The driver writes to configuration space, in the place of the library:
     * vfio_user_config_write() does what that would do. */
    void (*config_write)(void *opaque, struct vfio_user_bus *bus, uint32_t offset,
                         const void *data, size_t length);
};

/* ---- A program ------------------------------------------------------------------------------ */

/* The whole main() of a program that serves one device: takes the command line (--help shows it),
 * serves until SIGINT, SIGTERM or SIGHUP, and returns the process's exit status. */
int vfio_user_main(int argc, char **argv, const struct vfio_user_config *config,
                   const struct vfio_user_ops *ops, void *opaque);

/* For a program that starts threads, or opens files, before vfio_user_main(): the first thing that it
 * does, with the same command line and in the same thread. With --keeper the process becomes a keeper,
 * and the function returns in each process that the keeper starts. Returns 1 there, 0 without a keeper,
 * or what the system says. */
int vfio_user_begin(int argc, char **argv);

/* The loop for a program with a command line of its own: serves at `socket_path` until the
 * descriptor `stop_fd` is readable, then removes the socket. Starts no log and handles no
 * signals. -EINVAL for a configuration that is impossible, -EADDRINUSE for a socket in use, or
 * what the system says. */
int vfio_user_serve(const char *socket_path, int stop_fd, const struct vfio_user_config *config,
                    const struct vfio_user_ops *ops, void *opaque);

/* Why the last function of this thread failed, in a sentence; valid until the next one does. */
const char *vfio_user_last_error(void);

/* Keeps a message of the device's own, for `save` and `restore` to return with. Returns the error as
 * a negative number. */
int vfio_user_error(int error, const char *message);

/* Levels of vfio_user_log() */
#define VFIO_USER_LOG_ERROR 1
#define VFIO_USER_LOG_WARN 2
#define VFIO_USER_LOG_INFO 3
#define VFIO_USER_LOG_DEBUG 4

/* Writes one line to the log, as far as -v shows its level. A guest cannot flood it. */
void vfio_user_log(int level, const char *message);

/* ---- Interrupts ----------------------------------------------------------------------------- */

/* Drives INTA#, which is level-triggered. A driver that uses MSI or MSI-X does not see it. */
void vfio_user_set_intx(struct vfio_user_bus *bus, int asserted);

/* Signals a vector of MSI or MSI-X, whichever the driver has enabled; without either, nothing
 * happens. A masked vector stays pending. */
void vfio_user_signal_vector(struct vfio_user_bus *bus, uint16_t vector);

/* 1 while the driver uses MSI, or MSI-X; else 0. */
int vfio_user_msi_enabled(const struct vfio_user_bus *bus);
int vfio_user_msix_enabled(const struct vfio_user_bus *bus);

/* ---- Configuration space -------------------------------------------------------------------- */

/* As the driver finds it. Bytes beyond its end read as 0. */
void vfio_user_config_read(const struct vfio_user_bus *bus, uint32_t offset, void *buffer,
                           size_t length);
/* As a driver writes to it: bits that it may not write stay as they are. */
void vfio_user_config_write(struct vfio_user_bus *bus, uint32_t offset, const void *data,
                            size_t length);

/* ---- Guest memory --------------------------------------------------------------------------- */

/* At once, for memory that the client shares (QEMU: share=on). -ENOTSUP for memory that is not
 * shared, which only the functions below reach; -EFAULT where there is none, -EACCES where it
 * may not be accessed so, -EPERM while the driver has not enabled bus mastering. A write that
 * fails may have written its first bytes. */
int vfio_user_memory_read(struct vfio_user_bus *bus, uint64_t address, void *buffer,
                          size_t length);
int vfio_user_memory_write(struct vfio_user_bus *bus, uint64_t address, const void *data,
                           size_t length);

/* All guest memory: begins the access, `dma_done` is called with `tag` when it is done. They end in
 * the order in which they began. 16 MiB at most each; -ENOBUFS when more than 1024 or 32 MiB wait,
 * -ENOTCONN without a client. The library copies `data`. */
int vfio_user_dma_read(struct vfio_user_bus *bus, uint64_t address, size_t length, uint64_t tag);
int vfio_user_dma_write(struct vfio_user_bus *bus, uint64_t address, const void *data,
                        size_t length, uint64_t tag);

/* Forgets the accesses that have not ended. */
void vfio_user_dma_cancel(struct vfio_user_bus *bus);

/* ---- Time and other threads ----------------------------------------------------------------- */

/* Has `timer` called once with `id`, after that many nanoseconds. A timer that is set already is
 * moved. No more than 64 are set at a time. */
void vfio_user_set_timer(struct vfio_user_bus *bus, uint32_t id, uint64_t nanoseconds);
void vfio_user_cancel_timer(struct vfio_user_bus *bus, uint32_t id);

/* NULL when the process has no descriptor left. */
struct vfio_user_waker *vfio_user_waker_new(void);
void vfio_user_waker_free(struct vfio_user_waker *waker);
/* From any thread: has `wake` called, now or when the device waits next. */
void vfio_user_waker_wake(const struct vfio_user_waker *waker);
/* Has `wake` called once, when the waker is used. A reset ends the wait. */
void vfio_user_wait_for(struct vfio_user_bus *bus, const struct vfio_user_waker *waker);

/* ---- State ---------------------------------------------------------------------------------- */

/* Adds a field, in `save`. -EEXIST for a name that is there already. A version is a number as others
 * are. */
int vfio_user_state_put_number(struct vfio_user_state *state, const char *name, uint64_t value);
int vfio_user_state_put_bytes(struct vfio_user_state *state, const char *name, const void *data,
                              size_t length);
/* Gets a field, in `restore`. -ENOENT if there is none of that name, -EINVAL if it is not a number,
 * or not so many bytes. */
int vfio_user_state_get_number(const struct vfio_user_state *state, const char *name,
                               uint64_t *value);
int vfio_user_state_get_bytes(const struct vfio_user_state *state, const char *name, void *buffer,
                              size_t length);

#ifdef __cplusplus
}
#endif

#endif
