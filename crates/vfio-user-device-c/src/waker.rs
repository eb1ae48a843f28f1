//! How another thread calls the device.

use std::ptr;

use rustix::io::Errno;
use vfio_user_device::{Bus, Waker};

use crate::error;

/// A waker, or null.
#[unsafe(no_mangle)]
pub extern "C" fn vfio_user_waker_new() -> *mut Waker {
    match Waker::new() {
        Ok(waker) => Box::into_raw(Box::new(waker)),
        Err(reason) => {
            let errno = Errno::from_io_error(&reason).unwrap_or(Errno::MFILE);
            error::fail(errno, &format!("cannot make a waker: {reason}"));
            ptr::null_mut()
        }
    }
}

/// Frees a waker.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_waker_free(waker: *mut Waker) {
    if !waker.is_null() {
        // SAFETY: the header: it was made by `vfio_user_waker_new`, and is freed once.
        drop(unsafe { Box::from_raw(waker) });
    }
}

/// Has the device's `wake` called.
#[unsafe(no_mangle)]
pub extern "C" fn vfio_user_waker_wake(waker: &Waker) {
    waker.wake();
}

/// Waits for it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vfio_user_wait_for(bus: &mut Bus, waker: &Waker) {
    bus.wait_for(waker);
}
