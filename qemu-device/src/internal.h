/* What the files of the library know of each other. */
#ifndef QEMU_DEVICE_INTERNAL_H
#define QEMU_DEVICE_INTERNAL_H

#include <vfio_user_device.h>

#include "hw/pci/msi.h"
#include "hw/pci/msix.h"
#include "qapi/visitor.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"

/* Ends the program with a line that begins with "error: ". */
void fatal(const char *format, ...) G_GNUC_PRINTF(1, 2) G_NORETURN;

/* qom.c */
struct TypeImpl {
    TypeInfo info;
    Type parent;
    ObjectClass *class;
    Type next;
};
void run_modules(void);
Type type_first(void);
bool type_is_a(Type type, const char *name);
ObjectClass *type_class(Type type);
void object_delete(Object *object);

/* property.c */
struct Visitor {
    const char *text;
};
void set_default_properties(Object *object);
/* Sets a property to what a text says. */
void set_property(Object *object, const char *name, const char *text);
void print_properties(Object *object);

/* error.c */
void fail_with(const char *before, Error *error) G_NORETURN;

/* log.c */
void log_to_server(void);

/* memory.c */
uint64_t region_read(MemoryRegion *region, hwaddr address, unsigned size);
void region_write(MemoryRegion *region, hwaddr address, unsigned size, uint64_t value);

/* dma.c */
void forget_memory(void);

/* pci.c */
void pci_device_reset(PCIDevice *device);
/* What the guest finds; `capabilities` has room for as many as fit. */
#define MAX_CAPABILITIES 48
void describe_device(PCIDevice *device, struct vfio_user_config *config,
                     struct vfio_user_capability *capabilities);

/* config_space.c */
/* What the guest finds in the header, where the device looks for it. */
void refresh_header(PCIDevice *device, struct vfio_user_bus *bus);
/* The driver's accesses; `data` has what the server would answer. */
void config_space_read(PCIDevice *device, uint32_t address, uint8_t *data, size_t length);
void config_space_write(PCIDevice *device, uint32_t address, const uint8_t *data, size_t length);

/* interrupt.c */
/* The server has that level already. */
void remember_intx(PCIDevice *device, bool level);
void restore_intx(struct vfio_user_bus *bus);

/* main.c: a keeper starts the process again when it crashes */
extern bool is_kept;

/* lock.c: a callback of the server begins and ends, with the big lock */
void callback_begins(struct vfio_user_bus *bus);
void callback_ends(struct vfio_user_bus *bus);
/* The next callbacks end without giving the lock to other threads: all of them, until the state is
 * saved, so that it is saved as the callback has left it; or one, until the next callback. */
enum retention { NOT_RETAINED, UNTIL_SAVE, UNTIL_CALLBACK };
void retain_lock(enum retention retention);
/* The client has gone: other threads do not wait for it any more. */
void client_is_gone(void);
/* Calls a function with the bus, from any thread; with NULL while there is no client. */
void with_bus(void (*function)(struct vfio_user_bus *bus, void *argument), void *argument);
/* Have `wake` called soon, if there is a client; the first also during a callback. */
void wake_always(void);
void wake_session(void);
void need_waker(void);
/* Gives up after that time. */
bool bql_lock_within(int ms);
/* The big lock for a thread that keeps the session from going on: it reaches no bus. Whether there is a
 * client is said in the end. */
bool rest_begins(int ms);
bool rest_ends(void);

/* thread.c: a time of the clock that conditions and semaphores wait by */
struct timespec time_in_ms(int ms);

/* timer.c */
/* Nanoseconds until a timer is due; 0 or less when it is. */
int64_t time_left(const QEMUTimer *timer);
void run_timers(void);
void arm_timers(struct vfio_user_bus *bus);
/* The server's own timer is not set any more. */
void timers_are_disarmed(void);

/* bh.c */
void run_bottom_halves(void);

/* random.c: rand() and random() in memory of this library's, and their place in the sequence */
void own_rand(void);
int save_rand(struct vfio_user_state *state);
int restore_rand(const struct vfio_user_state *state);

/* vmstate.c: the state of the device, in the words of its VMStateDescription */
int save_device(PCIDevice *device, struct vfio_user_state *state);
int restore_device(PCIDevice *device, const struct vfio_user_state *state);

/* session.c */
extern const struct vfio_user_ops session_ops;

/* crash.c */
void watch_for_crashes(void);
void watch_callbacks(void);
void callback_is_watched(bool running);
/* Reports a buffer of the device that is too small for `length` bytes, as the sanitizer does. */
void check_buffer(const void *buffer, size_t length, bool is_written);

#endif
