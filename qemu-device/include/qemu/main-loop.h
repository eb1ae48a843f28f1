/* The big lock, which every callback of a device runs under, and bottom halves. */
#ifndef QEMU_MAIN_LOOP_H
#define QEMU_MAIN_LOOP_H

#include "qemu/osdep.h"
#include "qemu/thread.h"

void bql_lock(void);
void bql_unlock(void);
bool bql_locked(void);
void qemu_cond_wait_bql(QemuCond *cond);

/* The same before QEMU 9.0. */
#define qemu_mutex_lock_iothread bql_lock
#define qemu_mutex_unlock_iothread bql_unlock
#define qemu_mutex_iothread_locked bql_locked
#define qemu_cond_wait_iothread qemu_cond_wait_bql

static inline bool qemu_device_bql_guard(void)
{
    bql_lock();
    return true;
}

static inline void qemu_device_bql_unguard(bool *held)
{
    if (*held) {
        bql_unlock();
    }
}

#define BQL_LOCK_GUARD() \
    bool glue(bql_guard_, __LINE__) __attribute__((cleanup(qemu_device_bql_unguard), unused)) = \
        qemu_device_bql_guard()
#define QEMU_IOTHREAD_LOCK_GUARD BQL_LOCK_GUARD

/* Work that is done soon, under the big lock, when the present callback has returned. */
typedef void QEMUBHFunc(void *opaque);
QEMUBH *qemu_bh_new(QEMUBHFunc *function, void *opaque);
#define qemu_bh_new_guarded(function, opaque, guard) ((void)(guard), qemu_bh_new(function, opaque))
void qemu_bh_schedule(QEMUBH *bh);
#define qemu_bh_schedule_idle qemu_bh_schedule
void qemu_bh_cancel(QEMUBH *bh);
void qemu_bh_delete(QEMUBH *bh);

#endif
