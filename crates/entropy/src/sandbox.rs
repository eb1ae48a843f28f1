//! What the threads of sources may do, in a process that has a [sandbox](vfio_user_device::sandbox).

use vfio_user_device::sandbox::{BASIC, FILES, ThreadKind};

/// A thread that waits for a source's bytes: a file, or an entropy gathering daemon.
pub static SOURCE: ThreadKind = ThreadKind::new(
    "source",
    "reads a file, or connects to an entropy gathering daemon",
    &[&BASIC, &FILES],
);

/// A thread that shares a source among guests.
pub static SHARED_SOURCE: ThreadKind =
    ThreadKind::new("shared source", "decides which guest gets the next bytes", &[&BASIC]);
