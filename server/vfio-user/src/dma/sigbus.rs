//! Surviving a guest that truncates its memory file.
//!
//! A mapped page whose file has shrunk raises SIGBUS when it is touched, which would end the
//! process and every other guest's device with it. [`guarded`] marks, for this thread, the range
//! that a copy is about to touch. The handler replaces the missing pages of a marked range by
//! anonymous zero pages, so that the copy finishes, and says that it happened. So it does for
//! memory that others have mapped and [the kit watches](super::watched). A SIGBUS from anywhere else
//! keeps its default action.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{Ordering, compiler_fence};

use super::watched;

/// The addresses a copy of this thread may touch, and the first of them that was missing.
#[derive(Clone, Copy)]
struct Guard {
    start: usize,
    end: usize,
    /// Size of the pages there.
    page_size: usize,
    missing: Option<usize>,
}

const NOTHING: Guard = Guard { start: 0, end: 0, page_size: 1, missing: None };

thread_local! {
    // `const` and without a destructor: reading it is one load, fit for a signal handler.
    static GUARD: Cell<Guard> = const { Cell::new(NOTHING) };
}

/// Runs `copy`, which may touch `addresses`, in pages of `page_size` bytes. Returns the first of
/// them that had no memory behind it any more, if there is one. From its page on the copy has then
/// seen (or written to) zero pages that nobody shares, and that stay there.
pub(super) fn guarded(
    addresses: Range<usize>,
    page_size: usize,
    copy: impl FnOnce(),
) -> Option<usize> {
    install();
    GUARD.set(Guard { start: addresses.start, end: addresses.end, page_size, missing: None });
    // The handler runs on this thread, between any two of its instructions: the compiler must not
    // move the copy out of the guard, nor believe the guard unchanged.
    compiler_fence(Ordering::SeqCst);
    copy();
    compiler_fence(Ordering::SeqCst);
    GUARD.replace(NOTHING).missing
}

/// Makes sure that there is a handler.
pub(super) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: a zeroed sigaction is a valid value of that C structure, the handler has the
        // signature that SA_SIGINFO asks for, and the pointers are to live locals or null.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_sigbus as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &action, ptr::null_mut())
        };
        if result != 0 {
            log::warn!("no SIGBUS handler: {}", std::io::Error::last_os_error());
        }
    });
}

extern "C" fn on_sigbus(_signal: c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo to an SA_SIGINFO handler.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let guard = GUARD.get();
    if guard.start <= address && address < guard.end {
        let page = address as *mut c_void;
        // SAFETY: the range lies in a mapping of guest memory that the interrupted `guarded` call
        // of this thread holds on to; nothing but volatile copies ever looks into that mapping, and
        // they make no assumption about what the memory holds.
        if unsafe { replace_pages(page, guard.end, guard.page_size) } {
            // A copy may begin at its end.
            let missing = guard.missing.map_or(address, |other| other.min(address));
            GUARD.set(Guard { missing: Some(missing), ..guard });
            return;
        }
    } else if code == libc::BUS_ADRERR && watched::cover(address) {
        // A signal that somebody has sent has another code.
        return;
    }
    // Not ours: the default action, when the faulting instruction runs again.
    // SAFETY: signal(2) with SIG_DFL has no preconditions.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

/// Puts zero pages over everything from the page of `address` to that of the last byte before
/// `end`. Returns whether that was possible.
///
/// # Safety
/// All of it is a shared mapping that stays there meanwhile, and that is only accessed in ways that
/// do not depend on what it holds.
pub(super) unsafe fn replace_pages(address: *mut c_void, end: usize, page_size: usize) -> bool {
    let first = address as usize & !(page_size - 1);
    let end = (end + page_size - 1) & !(page_size - 1);
    // SAFETY: the caller's promise. mmap is a plain system call.
    let mapped = unsafe {
        libc::mmap(
            first as *mut c_void,
            end - first,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        )
    };
    mapped != libc::MAP_FAILED
}
