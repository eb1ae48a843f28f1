//! Descriptors by their numbers, for those that another process has left or passed.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

/// A descriptor that is not closed with the result; the kernel refuses a number that is not open.
pub(crate) fn by_number(number: RawFd) -> io::Result<ManuallyDrop<OwnedFd>> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: without an owner here (see `own`), nothing but system calls are made with it, which fail
    // if it is not open.
    Ok(ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) }))
}

/// A duplicate of a descriptor.
///
/// # Errors
/// Nothing is open by that number, or descriptors have run out.
pub(crate) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    by_number(number)?.try_clone()
}

/// Takes a descriptor over. It is open, and nothing else in this process closes it.
///
/// # Errors
/// Nothing can be open by that number.
pub(crate) fn own(number: RawFd) -> io::Result<OwnedFd> {
    by_number(number).map(ManuallyDrop::into_inner)
}
