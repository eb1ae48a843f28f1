//! What a signal does in this process.

use std::ffi::{c_int, c_void};
use std::io;
use std::{mem, ptr};

/// What a signal does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// What it does in a process that has set nothing.
    Default,
    /// Ends the system call that it interrupts, with EINTR.
    Interrupt,
    /// Calls a handler for memory that is not there, if need be on the stack that is set up for that.
    Fault(extern "C" fn(c_int, &Fault, *mut c_void)),
}

/// What the kernel says of memory that is not there: the first fields of a siginfo_t.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Fault {
    signal: c_int,
    errno: c_int,
    pub code: c_int,
    /// Where it was accessed.
    pub address: *const c_void,
}

const _: () = assert!(size_of::<Fault>() <= size_of::<libc::siginfo_t>());

extern "C" fn nothing(_signal: c_int) {}

impl Action {
    /// Sets it for a signal.
    ///
    /// # Errors
    /// There is no such signal, or no handler for it.
    pub fn set(self, signal: c_int) -> io::Result<()> {
        let (handler, flags) = match self {
            Action::Default => (libc::SIG_DFL, 0),
            Action::Interrupt => (nothing as *const () as libc::sighandler_t, 0),
            Action::Fault(handler) => {
                (handler as *const () as libc::sighandler_t, libc::SA_SIGINFO | libc::SA_ONSTACK)
            }
        };
        // SAFETY: a zeroed sigaction is a valid value of that C structure; the pointers are to a live
        // local or null. The handler has the signature that goes with the flags: with SA_SIGINFO the
        // kernel passes a siginfo_t, which begins with a `Fault` where the signal is a fault's; a
        // signal that was sent has other numbers in place of the address, of which any is valid.
        let result = unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            action.sa_sigaction = handler;
            action.sa_flags = flags;
            libc::sigaction(signal, &raw const action, ptr::null_mut())
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
