/* Accesses that threads share. */
#ifndef QEMU_ATOMIC_H
#define QEMU_ATOMIC_H

#define qatomic_read(place) __atomic_load_n(place, __ATOMIC_RELAXED)
#define qatomic_set(place, value) __atomic_store_n(place, value, __ATOMIC_RELAXED)
#define qatomic_load_acquire(place) __atomic_load_n(place, __ATOMIC_ACQUIRE)
#define qatomic_store_release(place, value) __atomic_store_n(place, value, __ATOMIC_RELEASE)
#define qatomic_mb_read(place) __atomic_load_n(place, __ATOMIC_SEQ_CST)
#define qatomic_mb_set(place, value) __atomic_store_n(place, value, __ATOMIC_SEQ_CST)
#define qatomic_xchg(place, value) __atomic_exchange_n(place, value, __ATOMIC_SEQ_CST)
#define qatomic_cmpxchg(place, old, new) \
    ({ \
        __typeof__(*(place)) expected_ = (old); \
        __atomic_compare_exchange_n(place, &expected_, new, false, __ATOMIC_SEQ_CST, \
                                    __ATOMIC_SEQ_CST); \
        expected_; \
    })

#define qatomic_fetch_add(place, n) __atomic_fetch_add(place, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_sub(place, n) __atomic_fetch_sub(place, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_and(place, n) __atomic_fetch_and(place, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_or(place, n) __atomic_fetch_or(place, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_xor(place, n) __atomic_fetch_xor(place, n, __ATOMIC_SEQ_CST)
#define qatomic_fetch_inc(place) qatomic_fetch_add(place, 1)
#define qatomic_fetch_dec(place) qatomic_fetch_sub(place, 1)
#define qatomic_add_fetch(place, n) __atomic_add_fetch(place, n, __ATOMIC_SEQ_CST)
#define qatomic_sub_fetch(place, n) __atomic_sub_fetch(place, n, __ATOMIC_SEQ_CST)
#define qatomic_and_fetch(place, n) __atomic_and_fetch(place, n, __ATOMIC_SEQ_CST)
#define qatomic_or_fetch(place, n) __atomic_or_fetch(place, n, __ATOMIC_SEQ_CST)
#define qatomic_inc_fetch(place) qatomic_add_fetch(place, 1)
#define qatomic_dec_fetch(place) qatomic_sub_fetch(place, 1)
#define qatomic_add(place, n) ((void)qatomic_fetch_add(place, n))
#define qatomic_sub(place, n) ((void)qatomic_fetch_sub(place, n))
#define qatomic_and(place, n) ((void)qatomic_fetch_and(place, n))
#define qatomic_or(place, n) ((void)qatomic_fetch_or(place, n))
#define qatomic_xor(place, n) ((void)qatomic_fetch_xor(place, n))
#define qatomic_inc(place) qatomic_add(place, 1)
#define qatomic_dec(place) qatomic_sub(place, 1)

#define smp_mb() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#define smp_wmb() __atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_rmb() __atomic_thread_fence(__ATOMIC_ACQUIRE)
#define smp_mb_release() __atomic_thread_fence(__ATOMIC_RELEASE)
#define smp_mb_acquire() __atomic_thread_fence(__ATOMIC_ACQUIRE)
/* The operations above are full barriers already. */
#define smp_mb__before_rmw() barrier()
#define smp_mb__after_rmw() barrier()
#define barrier() __asm__ __volatile__("" ::: "memory")

#endif
