/* Bottom halves: work for the session's thread, once the present callback has returned. */
#include "internal.h"

struct QEMUBH {
    QEMUBHFunc *function;
    void *opaque;
    bool scheduled;
    bool deleted;
    QEMUBH *next;
};

static pthread_mutex_t guard = PTHREAD_MUTEX_INITIALIZER;
static QEMUBH *bottom_halves;

QEMUBH *qemu_bh_new(QEMUBHFunc *function, void *opaque)
{
    need_waker();
    QEMUBH *bh = g_new0(QEMUBH, 1);
    *bh = (QEMUBH){ .function = function, .opaque = opaque };
    pthread_mutex_lock(&guard);
    bh->next = bottom_halves;
    bottom_halves = bh;
    pthread_mutex_unlock(&guard);
    return bh;
}

void qemu_bh_schedule(QEMUBH *bh)
{
    qatomic_store_release(&bh->scheduled, true);
    wake_always();
}

void qemu_bh_cancel(QEMUBH *bh)
{
    qatomic_set(&bh->scheduled, false);
}

void qemu_bh_delete(QEMUBH *bh)
{
    if (bh) {
        qatomic_set(&bh->scheduled, false);
        qatomic_store_release(&bh->deleted, true);
    }
}

static void remove_deleted(void)
{
    pthread_mutex_lock(&guard);
    for (QEMUBH **place = &bottom_halves; *place;) {
        QEMUBH *bh = *place;
        if (bh->deleted) {
            *place = bh->next;
            g_free(bh);
        } else {
            place = &bh->next;
        }
    }
    pthread_mutex_unlock(&guard);
}

void run_bottom_halves(void)
{
    /* New ones are put in front of the list, and none is freed meanwhile. */
    pthread_mutex_lock(&guard);
    QEMUBH *bh = bottom_halves;
    pthread_mutex_unlock(&guard);
    for (; bh; bh = bh->next) {
        if (qatomic_xchg(&bh->scheduled, false)) {
            bh->function(bh->opaque);
        }
    }
    remove_deleted();
}
