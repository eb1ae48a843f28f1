/* Clocks and timers. A timer's callback runs under the big lock. */
#ifndef QEMU_TIMER_H
#define QEMU_TIMER_H

#include "qemu/osdep.h"

#define NANOSECONDS_PER_SECOND 1000000000LL
#define SCALE_MS 1000000
#define SCALE_US 1000
#define SCALE_NS 1

/* The first two never jump; the guest may be stopped while they go on. */
typedef enum {
    QEMU_CLOCK_REALTIME = 0,
    QEMU_CLOCK_VIRTUAL = 1,
    QEMU_CLOCK_HOST = 2,
    QEMU_CLOCK_VIRTUAL_RT = 3,
} QEMUClockType;

typedef void QEMUTimerCB(void *opaque);

struct QEMUTimer {
    QEMUClockType clock;
    int scale;
    QEMUTimerCB *cb;
    void *opaque;
    /* In nanoseconds, -1 while the timer is not set. */
    int64_t expire_time;
    QEMUTimer *next;
};

int64_t qemu_clock_get_ns(QEMUClockType clock);

static inline int64_t qemu_clock_get_us(QEMUClockType clock)
{
    return qemu_clock_get_ns(clock) / SCALE_US;
}

static inline int64_t qemu_clock_get_ms(QEMUClockType clock)
{
    return qemu_clock_get_ns(clock) / SCALE_MS;
}

static inline int64_t get_clock(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

void timer_init(QEMUTimer *timer, QEMUClockType clock, int scale, QEMUTimerCB *cb, void *opaque);
#define timer_init_ns(timer, clock, cb, opaque) timer_init(timer, clock, SCALE_NS, cb, opaque)
#define timer_init_us(timer, clock, cb, opaque) timer_init(timer, clock, SCALE_US, cb, opaque)
#define timer_init_ms(timer, clock, cb, opaque) timer_init(timer, clock, SCALE_MS, cb, opaque)
QEMUTimer *timer_new(QEMUClockType clock, int scale, QEMUTimerCB *cb, void *opaque);
#define timer_new_ns(clock, cb, opaque) timer_new(clock, SCALE_NS, cb, opaque)
#define timer_new_us(clock, cb, opaque) timer_new(clock, SCALE_US, cb, opaque)
#define timer_new_ms(clock, cb, opaque) timer_new(clock, SCALE_MS, cb, opaque)
void timer_deinit(QEMUTimer *timer);
void timer_free(QEMUTimer *timer);
/* Sets a timer to a time of its clock, in its own unit or in nanoseconds. */
void timer_mod(QEMUTimer *timer, int64_t expire_time);
void timer_mod_ns(QEMUTimer *timer, int64_t expire_time);
void timer_mod_anticipate(QEMUTimer *timer, int64_t expire_time);
void timer_mod_anticipate_ns(QEMUTimer *timer, int64_t expire_time);
void timer_del(QEMUTimer *timer);
bool timer_pending(QEMUTimer *timer);
bool timer_expired(QEMUTimer *timer, int64_t now);
uint64_t timer_expire_time_ns(QEMUTimer *timer);

static inline uint64_t muldiv64(uint64_t a, uint32_t b, uint32_t c)
{
    return (unsigned __int128)a * b / c;
}

#endif
