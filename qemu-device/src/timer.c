/*
 * Clocks and timers.
 *
 * The device's timers are a list; the server has one timer of its own, set to the first of them.
 * Timers fire while there is a client: one that is due without fires when the next has come.
 */
#include "internal.h"

/* Guards the list, and each timer in it. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
/* Those that are set. */
static QEMUTimer *timers;
/* How long after now the server's timer was set to fire last, as a time; -1 if it is not set. */
static int64_t armed_for = -1;

#define SERVER_TIMER 0

int64_t qemu_clock_get_ns(QEMUClockType clock)
{
    struct timespec now;
    clock_gettime(clock == QEMU_CLOCK_HOST ? CLOCK_REALTIME : CLOCK_MONOTONIC, &now);
    return now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec;
}

void timer_init(QEMUTimer *timer, QEMUClockType clock, int scale, QEMUTimerCB *cb, void *opaque)
{
    *timer = (QEMUTimer){
        .clock = clock, .scale = scale, .cb = cb, .opaque = opaque, .expire_time = -1,
    };
}

QEMUTimer *timer_new(QEMUClockType clock, int scale, QEMUTimerCB *cb, void *opaque)
{
    QEMUTimer *timer = g_new0(QEMUTimer, 1);
    timer_init(timer, clock, scale, cb, opaque);
    return timer;
}

static void unlink_timer(QEMUTimer *timer)
{
    QEMUTimer **place = &timers;
    while (*place && *place != timer) {
        place = &(*place)->next;
    }
    if (*place) {
        *place = timer->next;
    }
    timer->next = NULL;
    timer->expire_time = -1;
}

void timer_del(QEMUTimer *timer)
{
    pthread_mutex_lock(&guard);
    unlink_timer(timer);
    pthread_mutex_unlock(&guard);
}

void timer_deinit(QEMUTimer *timer)
{
    timer_del(timer);
}

void timer_free(QEMUTimer *timer)
{
    if (timer) {
        timer_del(timer);
        g_free(timer);
    }
}

void timer_mod_ns(QEMUTimer *timer, int64_t expire_time)
{
    if (!timer->cb) {
        fprintf(stderr, "error: timer_mod() of a timer that was not initialized; call "
                        "timer_init_ms() or timer_new_ms() in realize\n");
        abort();
    }
    pthread_mutex_lock(&guard);
    unlink_timer(timer);
    timer->expire_time = MAX(expire_time, 0);
    timer->next = timers;
    timers = timer;
    pthread_mutex_unlock(&guard);
    wake_session();
}

void timer_mod(QEMUTimer *timer, int64_t expire_time)
{
    timer_mod_ns(timer, expire_time * timer->scale);
}

void timer_mod_anticipate_ns(QEMUTimer *timer, int64_t expire_time)
{
    if (timer->expire_time < 0 || expire_time < timer->expire_time) {
        timer_mod_ns(timer, expire_time);
    }
}

void timer_mod_anticipate(QEMUTimer *timer, int64_t expire_time)
{
    timer_mod_anticipate_ns(timer, expire_time * timer->scale);
}

bool timer_pending(QEMUTimer *timer)
{
    return timer->expire_time >= 0;
}

bool timer_expired(QEMUTimer *timer, int64_t now)
{
    return timer->expire_time >= 0 && timer->expire_time <= now * timer->scale;
}

uint64_t timer_expire_time_ns(QEMUTimer *timer)
{
    return timer->expire_time;
}

int64_t time_left(const QEMUTimer *timer)
{
    return timer->expire_time - qemu_clock_get_ns(timer->clock);
}

static QEMUTimer *first_timer(void)
{
    QEMUTimer *first = NULL;
    for (QEMUTimer *timer = timers; timer; timer = timer->next) {
        if (!first || time_left(timer) < time_left(first)) {
            first = timer;
        }
    }
    return first;
}

void run_timers(void)
{
    armed_for = -1;
    /* Those that are set again meanwhile are for the next time. */
    int64_t now[] = {
        [QEMU_CLOCK_REALTIME] = qemu_clock_get_ns(QEMU_CLOCK_REALTIME),
        [QEMU_CLOCK_HOST] = qemu_clock_get_ns(QEMU_CLOCK_HOST),
    };
    for (;;) {
        pthread_mutex_lock(&guard);
        QEMUTimer *timer = first_timer();
        int clock = timer && timer->clock == QEMU_CLOCK_HOST ? QEMU_CLOCK_HOST
                                                             : QEMU_CLOCK_REALTIME;
        if (!timer || timer->expire_time > now[clock]) {
            pthread_mutex_unlock(&guard);
            return;
        }
        unlink_timer(timer);
        pthread_mutex_unlock(&guard);
        timer->cb(timer->opaque);
    }
}

void timers_are_disarmed(void)
{
    armed_for = -1;
}

void arm_timers(struct vfio_user_bus *bus)
{
    if (!qatomic_read(&timers) && armed_for < 0) {
        return;
    }
    pthread_mutex_lock(&guard);
    QEMUTimer *first = first_timer();
    if (!first) {
        vfio_user_cancel_timer(bus, SERVER_TIMER);
        armed_for = -1;
    } else if (first->expire_time != armed_for) {
        vfio_user_set_timer(bus, SERVER_TIMER, MAX(time_left(first), 0));
        armed_for = first->expire_time;
    }
    pthread_mutex_unlock(&guard);
}
