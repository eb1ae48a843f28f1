/*
 * The big lock, and how threads reach the guest.
 *
 * The server calls the device in the session's thread, with a bus that is good for that callback
 * alone. Another thread that holds the big lock may raise interrupts and access guest memory as
 * well: it leaves a request, which the session's thread carries out in its next callback, or while
 * it waits for the big lock itself. A request never waits for the lock, so that no thread waits for ever.
 */
#include "internal.h"

struct request {
    void (*function)(struct vfio_user_bus *bus, void *argument);
    void *argument;
    bool done;
    struct request *next;
};

/* Guards everything below. */
static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Threads that wait for `changed`. */
static int waiting;
static bool lock_is_held;
/* Until when the session has it after a callback. */
static enum retention retention, next_retention;
static bool has_client;
static struct request *requests;

static __thread bool lock_is_mine;
static __thread struct vfio_user_bus *bus_of_callback;
/* This thread is not the session's, and keeps that from carrying anything out. */
static __thread bool session_rests;

static struct vfio_user_waker *waker;
static bool waker_is_needed;

static void wait_for_change(void)
{
    waiting++;
    pthread_cond_wait(&changed, &guard);
    waiting--;
}

static void tell_change(void)
{
    if (waiting > 0) {
        pthread_cond_broadcast(&changed);
    }
}

static void carry_out_requests(struct vfio_user_bus *bus)
{
    bool any = requests != NULL;
    while (requests) {
        struct request *request = requests;
        requests = request->next;
        request->function(bus, request->argument);
        request->done = true;
    }
    if (any) {
        tell_change();
    }
}

void callback_begins(struct vfio_user_bus *bus)
{
    callback_is_watched(true);
    pthread_mutex_lock(&guard);
    has_client = true;
    carry_out_requests(bus);
    while (lock_is_held && retention == NOT_RETAINED) {
        wait_for_change();
        carry_out_requests(bus);
    }
    lock_is_held = true;
    retention = NOT_RETAINED;
    pthread_mutex_unlock(&guard);
    lock_is_mine = true;
    bus_of_callback = bus;
    restore_intx(bus);
}

void callback_ends(struct vfio_user_bus *bus)
{
    arm_timers(bus);
    bus_of_callback = NULL;
    lock_is_mine = false;
    pthread_mutex_lock(&guard);
    retention = next_retention;
    lock_is_held = retention != NOT_RETAINED;
    carry_out_requests(bus);
    tell_change();
    if (waker_is_needed) {
        vfio_user_wait_for(bus, waker);
    }
    pthread_mutex_unlock(&guard);
    callback_is_watched(false);
}

void client_is_gone(void)
{
    pthread_mutex_lock(&guard);
    has_client = false;
    carry_out_requests(NULL);
    pthread_mutex_unlock(&guard);
}

void retain_lock(enum retention until)
{
    next_retention = until;
}

bool rest_begins(int ms)
{
    pthread_mutex_lock(&guard);
    lock_is_mine = retention != NOT_RETAINED;
    pthread_mutex_unlock(&guard);
    session_rests = lock_is_mine || bql_lock_within(ms);
    return session_rests;
}

bool rest_ends(void)
{
    pthread_mutex_lock(&guard);
    bool is_retained = retention == UNTIL_CALLBACK;
    retention = is_retained ? UNTIL_CALLBACK : NOT_RETAINED;
    pthread_mutex_unlock(&guard);
    if (is_retained) {
        lock_is_mine = false;
    } else {
        bql_unlock();
    }
    session_rests = false;
    return has_client;
}

void need_waker(void)
{
    pthread_mutex_lock(&guard);
    if (!waker) {
        waker = vfio_user_waker_new();
        if (!waker) {
            fatal("%s", vfio_user_last_error());
        }
    }
    waker_is_needed = true;
    pthread_mutex_unlock(&guard);
}

void wake_always(void)
{
    if (waker) {
        vfio_user_waker_wake(waker);
    }
}

void wake_session(void)
{
    if (!bus_of_callback) {
        wake_always();
    }
}

void with_bus(void (*function)(struct vfio_user_bus *bus, void *argument), void *argument)
{
    if (bus_of_callback) {
        function(bus_of_callback, argument);
        return;
    }
    struct request request = { .function = function, .argument = argument };
    pthread_mutex_lock(&guard);
    if (!has_client || session_rests) {
        function(NULL, argument);
        request.done = true;
    } else {
        struct request **end = &requests;
        while (*end) {
            end = &(*end)->next;
        }
        *end = &request;
        tell_change();
    }
    if (!request.done && waker) {
        vfio_user_waker_wake(waker);
    }
    while (!request.done) {
        wait_for_change();
    }
    pthread_mutex_unlock(&guard);
}

void bql_lock(void)
{
    if (lock_is_mine) {
        fprintf(stderr, "error: bql_lock() by a thread that holds the big lock; callbacks of a "
                        "device run under it already\n");
        abort();
    }
    pthread_mutex_lock(&guard);
    while (lock_is_held) {
        if (retention == UNTIL_CALLBACK) {
            wake_always();
        }
        wait_for_change();
    }
    lock_is_held = true;
    pthread_mutex_unlock(&guard);
    lock_is_mine = true;
}

bool bql_lock_within(int ms)
{
    struct timespec until = time_in_ms(ms);
    int error = 0;
    pthread_mutex_lock(&guard);
    while (lock_is_held && error == 0) {
        waiting++;
        error = pthread_cond_timedwait(&changed, &guard, &until);
        waiting--;
    }
    bool taken = !lock_is_held;
    lock_is_held = true;
    pthread_mutex_unlock(&guard);
    lock_is_mine = taken;
    return taken;
}

void bql_unlock(void)
{
    if (!lock_is_mine) {
        fprintf(stderr, "error: bql_unlock() by a thread that does not hold the big lock\n");
        abort();
    }
    lock_is_mine = false;
    pthread_mutex_lock(&guard);
    lock_is_held = false;
    tell_change();
    pthread_mutex_unlock(&guard);
}

bool bql_locked(void)
{
    return lock_is_mine;
}

void qemu_cond_wait_bql(QemuCond *cond)
{
    pthread_mutex_lock(&guard);
    lock_is_held = false;
    tell_change();
    if (bus_of_callback) {
        /* The session goes on with requests while it waits. */
        struct timespec until = time_in_ms(1);
        while (pthread_cond_timedwait(&cond->cond, &guard, &until) == ETIMEDOUT) {
            carry_out_requests(bus_of_callback);
            until = time_in_ms(1);
        }
    } else {
        pthread_cond_wait(&cond->cond, &guard);
    }
    while (lock_is_held) {
        wait_for_change();
    }
    lock_is_held = true;
    pthread_mutex_unlock(&guard);
}
