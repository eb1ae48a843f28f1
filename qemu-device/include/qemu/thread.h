/* Threads, and what they wait for. */
#ifndef QEMU_THREAD_H
#define QEMU_THREAD_H

#include <pthread.h>
#include <semaphore.h>

#include "qemu/atomic.h"
#include "qemu/osdep.h"

typedef struct QemuThread {
    pthread_t thread;
} QemuThread;

typedef struct QemuMutex {
    pthread_mutex_t lock;
} QemuMutex;

typedef struct QemuRecMutex {
    QemuMutex m;
} QemuRecMutex;

typedef struct QemuCond {
    pthread_cond_t cond;
} QemuCond;

typedef struct QemuSemaphore {
    sem_t sem;
} QemuSemaphore;

typedef struct QemuEvent {
    QemuMutex lock;
    QemuCond cond;
    bool set;
} QemuEvent;

typedef struct QemuSpin {
    QemuMutex lock;
} QemuSpin;

#define QEMU_THREAD_JOINABLE 0
#define QEMU_THREAD_DETACHED 1

void qemu_thread_create(QemuThread *thread, const char *name, void *(*start)(void *), void *arg,
                        int mode);
/* Lets go of the big lock while it waits, if the caller holds it. */
void *qemu_thread_join(QemuThread *thread);
void qemu_thread_get_self(QemuThread *thread);
bool qemu_thread_is_self(QemuThread *thread);
void qemu_thread_exit(void *value) QEMU_NORETURN;

void qemu_mutex_init(QemuMutex *mutex);
void qemu_mutex_destroy(QemuMutex *mutex);
void qemu_mutex_lock(QemuMutex *mutex);
int qemu_mutex_trylock(QemuMutex *mutex);
void qemu_mutex_unlock(QemuMutex *mutex);
void qemu_rec_mutex_init(QemuRecMutex *mutex);
#define qemu_rec_mutex_destroy(mutex) qemu_mutex_destroy(&(mutex)->m)
#define qemu_rec_mutex_lock(mutex) qemu_mutex_lock(&(mutex)->m)
#define qemu_rec_mutex_unlock(mutex) qemu_mutex_unlock(&(mutex)->m)

void qemu_cond_init(QemuCond *cond);
void qemu_cond_destroy(QemuCond *cond);
void qemu_cond_signal(QemuCond *cond);
void qemu_cond_broadcast(QemuCond *cond);
void qemu_cond_wait(QemuCond *cond, QemuMutex *mutex);
bool qemu_cond_timedwait(QemuCond *cond, QemuMutex *mutex, int ms);

void qemu_sem_init(QemuSemaphore *semaphore, int value);
void qemu_sem_post(QemuSemaphore *semaphore);
void qemu_sem_wait(QemuSemaphore *semaphore);
int qemu_sem_timedwait(QemuSemaphore *semaphore, int ms);
void qemu_sem_destroy(QemuSemaphore *semaphore);

void qemu_event_init(QemuEvent *event, bool set);
void qemu_event_set(QemuEvent *event);
void qemu_event_reset(QemuEvent *event);
void qemu_event_wait(QemuEvent *event);
void qemu_event_destroy(QemuEvent *event);

#define qemu_spin_init(spin) qemu_mutex_init(&(spin)->lock)
#define qemu_spin_destroy(spin) qemu_mutex_destroy(&(spin)->lock)
#define qemu_spin_lock(spin) qemu_mutex_lock(&(spin)->lock)
#define qemu_spin_unlock(spin) qemu_mutex_unlock(&(spin)->lock)

static inline QemuMutex *qemu_device_guard(QemuMutex *mutex)
{
    qemu_mutex_lock(mutex);
    return mutex;
}

static inline void qemu_device_unguard(QemuMutex **mutex)
{
    if (*mutex) {
        qemu_mutex_unlock(*mutex);
    }
}

/* Hold a mutex to the end of the block. */
#define QEMU_LOCK_GUARD(mutex) \
    QemuMutex *glue(guard_, __LINE__) __attribute__((cleanup(qemu_device_unguard), unused)) = \
        qemu_device_guard(mutex)
#define WITH_QEMU_LOCK_GUARD(mutex) \
    for (QemuMutex *guard_ __attribute__((cleanup(qemu_device_unguard))) = \
             qemu_device_guard(mutex); \
         guard_; qemu_mutex_unlock(guard_), guard_ = NULL)

#endif
