//! The message of the last error of a thread, and errors as numbers.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};

use rustix::io::Errno;
use vfio_user_device::DmaError;

thread_local! {
    static LAST: RefCell<CString> = RefCell::default();
}

/// Keeps the message of an error, and returns its number as C wants it.
pub fn fail(errno: Errno, message: &str) -> c_int {
    // What a C string cannot hold ends it.
    let text = message.split('\0').next().unwrap_or_default();
    LAST.set(CString::new(text).unwrap_or_default());
    -errno.raw_os_error()
}

/// No error is kept any more.
pub fn forget() {
    LAST.take();
}

/// What the device itself says of a failure, or that it says nothing.
pub fn told(callback: &str, number: c_int) -> String {
    let message = LAST.with_borrow(|last| last.to_string_lossy().into_owned());
    if message.is_empty() { format!("the device's {callback} returned {number}") } else { message }
}

/// 0, or the number of an error whose message is kept.
pub fn result(result: Result<(), DmaError>) -> c_int {
    result.map_or_else(|error| fail(dma_errno(&error), &error.to_string()), |()| 0)
}

/// The number of what is wrong with an access to guest memory.
pub fn dma_errno(error: &DmaError) -> Errno {
    match error {
        DmaError::NotBusMaster => Errno::PERM,
        DmaError::NotMapped { .. } | DmaError::Truncated { .. } => Errno::FAULT,
        DmaError::NotPermitted { .. } => Errno::ACCESS,
        DmaError::NotShared { .. } => Errno::OPNOTSUPP,
        DmaError::Refused { errno, .. } => Errno::from_raw_os_error(*errno),
        DmaError::TooLong(_) => Errno::MSGSIZE,
        DmaError::Disconnected => Errno::NOTCONN,
        DmaError::QueueFull => Errno::NOBUFS,
        // A newer kit may have more of them.
        _ => Errno::IO,
    }
}

/// Keeps a message of the device's own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_error(number: c_int, message: *const c_char) -> c_int {
    // SAFETY: the header: null or a C string.
    let message = unsafe { message.as_ref().map(|first| CStr::from_ptr(first)) };
    LAST.set(message.unwrap_or_default().to_owned());
    -number.saturating_abs()
}

/// The message of this thread's last error.
#[unsafe(no_mangle)]
pub extern "C" fn vfio_user_last_error() -> *const c_char {
    LAST.with(|last| last.borrow().as_ptr())
}
