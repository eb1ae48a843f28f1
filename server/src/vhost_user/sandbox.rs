//! What the threads of vhost-user may do, in a process that has a
//! [sandbox](vfio_user_device::sandbox).

use vfio_user_device::sandbox::{
    BASIC, CallGroup, NON_BLOCKING, SESSION_CALLS, THREADS, ThreadKind, calls,
};

/// What rust-vmm's threads need, and the end of the server.
static EVENTS: CallGroup = CallGroup {
    name: "events",
    reason: "rust-vmm's event loops, the limit's timer, VMMs that connect, the socket file's end",
    calls: calls![
        SYS_accept4,
        SYS_epoll_create1,
        SYS_epoll_ctl,
        SYS_epoll_pwait,
        SYS_timerfd_create,
        SYS_timerfd_settime,
        SYS_unlinkat,
    ],
    #[cfg(target_arch = "x86_64")]
    old_forms: calls![SYS_epoll_wait, SYS_unlink],
    #[cfg(not(target_arch = "x86_64"))]
    old_forms: &[],
};

/// The thread of a vhost-user socket, and those that it starts for a VMM.
pub static VHOST_USER: ThreadKind = ThreadKind::new(
    "vhost-user",
    "serves a vhost-user socket: its VMM's messages, the virtqueue",
    &[&BASIC, &THREADS, &SESSION_CALLS, &NON_BLOCKING, &EVENTS],
);
