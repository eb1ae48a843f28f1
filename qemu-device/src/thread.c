/* Threads, mutexes and what else threads wait for. */
#include "internal.h"

#undef pthread_create

static void check(int error, const char *function)
{
    if (error != 0) {
        fprintf(stderr, "error: %s(): %s\n", function, strerror(error));
        abort();
    }
}

/* Threads of every origin can ask for the bus, so that the session has to be woken. */
int qemu_device_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                               void *(*start)(void *), void *argument)
{
    need_waker();
    return pthread_create(thread, attributes, start, argument);
}

void qemu_thread_create(QemuThread *thread, const char *name, void *(*start)(void *), void *arg,
                        int mode)
{
    check(qemu_device_pthread_create(&thread->thread, NULL, start, arg), "qemu_thread_create");
    char short_name[16];
    snprintf(short_name, sizeof(short_name), "%s", name ? name : "device");
    pthread_setname_np(thread->thread, short_name);
    if (mode == QEMU_THREAD_DETACHED) {
        check(pthread_detach(thread->thread), "qemu_thread_create");
    }
}

void *qemu_thread_join(QemuThread *thread)
{
    void *value = NULL;
    bool held = bql_locked();
    if (held) {
        bql_unlock();
    }
    check(pthread_join(thread->thread, &value), "qemu_thread_join");
    if (held) {
        bql_lock();
    }
    return value;
}

void qemu_thread_get_self(QemuThread *thread)
{
    thread->thread = pthread_self();
}

bool qemu_thread_is_self(QemuThread *thread)
{
    return pthread_equal(thread->thread, pthread_self());
}

void qemu_thread_exit(void *value)
{
    pthread_exit(value);
}

void qemu_mutex_init(QemuMutex *mutex)
{
    check(pthread_mutex_init(&mutex->lock, NULL), "qemu_mutex_init");
}

void qemu_rec_mutex_init(QemuRecMutex *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    check(pthread_mutex_init(&mutex->m.lock, &attributes), "qemu_rec_mutex_init");
    pthread_mutexattr_destroy(&attributes);
}

void qemu_mutex_destroy(QemuMutex *mutex)
{
    check(pthread_mutex_destroy(&mutex->lock), "qemu_mutex_destroy");
}

void qemu_mutex_lock(QemuMutex *mutex)
{
    check(pthread_mutex_lock(&mutex->lock), "qemu_mutex_lock");
}

int qemu_mutex_trylock(QemuMutex *mutex)
{
    return pthread_mutex_trylock(&mutex->lock);
}

void qemu_mutex_unlock(QemuMutex *mutex)
{
    check(pthread_mutex_unlock(&mutex->lock), "qemu_mutex_unlock");
}

void qemu_cond_init(QemuCond *cond)
{
    check(pthread_cond_init(&cond->cond, NULL), "qemu_cond_init");
}

void qemu_cond_destroy(QemuCond *cond)
{
    check(pthread_cond_destroy(&cond->cond), "qemu_cond_destroy");
}

void qemu_cond_signal(QemuCond *cond)
{
    check(pthread_cond_signal(&cond->cond), "qemu_cond_signal");
}

void qemu_cond_broadcast(QemuCond *cond)
{
    check(pthread_cond_broadcast(&cond->cond), "qemu_cond_broadcast");
}

void qemu_cond_wait(QemuCond *cond, QemuMutex *mutex)
{
    check(pthread_cond_wait(&cond->cond, &mutex->lock), "qemu_cond_wait");
}

struct timespec time_in_ms(int ms)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_sec += ms / 1000;
    time.tv_nsec += (long)(ms % 1000) * SCALE_MS;
    time.tv_sec += time.tv_nsec / NANOSECONDS_PER_SECOND;
    time.tv_nsec %= NANOSECONDS_PER_SECOND;
    return time;
}

bool qemu_cond_timedwait(QemuCond *cond, QemuMutex *mutex, int ms)
{
    struct timespec until = time_in_ms(ms);
    int error = pthread_cond_timedwait(&cond->cond, &mutex->lock, &until);
    if (error != ETIMEDOUT) {
        check(error, "qemu_cond_timedwait");
    }
    return error == 0;
}

void qemu_sem_init(QemuSemaphore *semaphore, int value)
{
    check(sem_init(&semaphore->sem, 0, value) ? errno : 0, "qemu_sem_init");
}

void qemu_sem_post(QemuSemaphore *semaphore)
{
    check(sem_post(&semaphore->sem) ? errno : 0, "qemu_sem_post");
}

void qemu_sem_wait(QemuSemaphore *semaphore)
{
    while (sem_wait(&semaphore->sem) != 0) {
        check(errno == EINTR ? 0 : errno, "qemu_sem_wait");
    }
}

int qemu_sem_timedwait(QemuSemaphore *semaphore, int ms)
{
    struct timespec until = time_in_ms(ms);
    while (sem_timedwait(&semaphore->sem, &until) != 0) {
        if (errno == ETIMEDOUT) {
            return -1;
        }
        check(errno == EINTR ? 0 : errno, "qemu_sem_timedwait");
    }
    return 0;
}

void qemu_sem_destroy(QemuSemaphore *semaphore)
{
    sem_destroy(&semaphore->sem);
}

void qemu_event_init(QemuEvent *event, bool set)
{
    qemu_mutex_init(&event->lock);
    qemu_cond_init(&event->cond);
    event->set = set;
}

void qemu_event_set(QemuEvent *event)
{
    qemu_mutex_lock(&event->lock);
    event->set = true;
    qemu_cond_broadcast(&event->cond);
    qemu_mutex_unlock(&event->lock);
}

void qemu_event_reset(QemuEvent *event)
{
    qemu_mutex_lock(&event->lock);
    event->set = false;
    qemu_mutex_unlock(&event->lock);
}

void qemu_event_wait(QemuEvent *event)
{
    qemu_mutex_lock(&event->lock);
    while (!event->set) {
        qemu_cond_wait(&event->cond, &event->lock);
    }
    qemu_mutex_unlock(&event->lock);
}

void qemu_event_destroy(QemuEvent *event)
{
    qemu_cond_destroy(&event->cond);
    qemu_mutex_destroy(&event->lock);
}
