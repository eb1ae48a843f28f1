//! Where memory lies that other crates have mapped, for the signal handler to look up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::pages::Pages;

/// All memory of this kind in the process. The signal handler takes the lock, too: it runs in a
/// thread that has just touched guest memory, which no thread does while it holds the lock.
static REGIONS: Mutex<Vec<Region>> = Mutex::new(Vec::new());

/// How often the signal handler tries to take the lock.
const ATTEMPTS: usize = 1_000_000;

/// A mapping.
#[derive(Debug)]
pub(super) struct Region {
    pub pages: Pages,
    /// That of the `WatchedMemory` that it belongs to.
    pub truncated: Arc<AtomicBool>,
}

pub(super) fn lock() -> MutexGuard<'static, Vec<Region>> {
    REGIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For the signal handler: puts zero pages over watched memory from this address to the end of its
/// region. Returns whether it did.
pub(super) fn cover(address: usize) -> bool {
    // Only memory that is broken itself raises SIGBUS in a thread that has the lock already. That
    // one shall end, and not wait for itself.
    let Some(regions) = (0..ATTEMPTS).find_map(|_| {
        let locked = REGIONS.try_lock().ok();
        if locked.is_none() {
            thread::yield_now();
        }
        locked
    }) else {
        return false;
    };
    let Some(region) = regions.iter().find(|region| region.pages.contains(address)) else {
        return false;
    };
    region.truncated.store(true, Ordering::Relaxed);
    // It is in the table, so its owner has the mapping still.
    region.pages.replace_from(address)
}
