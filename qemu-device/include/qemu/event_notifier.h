/* An eventfd. */
#ifndef QEMU_EVENT_NOTIFIER_H
#define QEMU_EVENT_NOTIFIER_H

#include "qemu/osdep.h"

struct EventNotifier {
    int fd;
};

int event_notifier_init(EventNotifier *notifier, int active);
void event_notifier_cleanup(EventNotifier *notifier);
int event_notifier_get_fd(const EventNotifier *notifier);
int event_notifier_set(EventNotifier *notifier);
int event_notifier_test_and_clear(EventNotifier *notifier);

#endif
