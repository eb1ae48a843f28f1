//! Surviving a guest that truncates its memory file.
//!
//! A mapped page whose file has shrunk raises SIGBUS when it is touched, which would end the
//! process and every other guest's device with it. [`guarded`] marks, for this thread, the pages
//! that a copy is about to touch. The handler replaces the missing ones of them by anonymous zero
//! pages, so that the copy finishes, and says that it happened. So it does for memory that others
//! have mapped and [the kit watches](super::watched). A SIGBUS from anywhere else keeps its default
//! action.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::sync::Once;
use std::sync::atomic::{Ordering, compiler_fence};

use super::pages::Pages;
use super::watched_regions;
use crate::signal_action::{Action, Fault};

/// The pages that a copy of this thread may touch, and the first address that was missing.
#[derive(Clone, Copy)]
struct Guard {
    pages: Pages,
    missing: Option<usize>,
}

const NOTHING: Guard = Guard { pages: Pages::NONE, missing: None };

thread_local! {
    // `const` and without a destructor: reading it is one load, fit for a signal handler.
    static GUARD: Cell<Guard> = const { Cell::new(NOTHING) };
}

/// Runs `copy`, which may touch these pages. Returns the first address that had no memory behind it
/// any more, if there is one. From its page on the copy has then seen (or written to) zero pages
/// that nothing shares, and that stay there.
pub(super) fn guarded(pages: Pages, copy: impl FnOnce()) -> Option<usize> {
    install();
    GUARD.set(Guard { pages, missing: None });
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
        if let Err(error) = Action::Fault(on_sigbus).set(libc::SIGBUS) {
            log::warn!("no SIGBUS handler: {error}");
        }
    });
}

extern "C" fn on_sigbus(_signal: c_int, fault: &Fault, _context: *mut c_void) {
    let address = fault.address as usize;
    let guard = GUARD.get();
    if guard.pages.contains(address) {
        if guard.pages.replace_from(address) {
            // A copy may begin at its end.
            let missing = guard.missing.map_or(address, |other| other.min(address));
            GUARD.set(Guard { missing: Some(missing), ..guard });
            return;
        }
    } else if fault.code == libc::BUS_ADRERR && watched_regions::cover(address) {
        // A signal that another process has sent has another code.
        return;
    }
    // Not ours: the default action, when the faulting instruction runs again.
    let _ = Action::Default.set(libc::SIGBUS);
}
