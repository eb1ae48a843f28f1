//! Signals that end a program.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::{flag, low_level::pipe};

/// The handlers, and what they write to.
#[derive(Debug)]
pub(super) struct EndSignals {
    stop: UnixStream,
    signalled: UnixStream,
    hung_up: Arc<AtomicBool>,
}

impl EndSignals {
    /// Hears SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// The handlers cannot be set up.
    pub fn new() -> io::Result<Self> {
        let (stop, signalled) = UnixStream::pair()?;
        for signal in [SIGINT, SIGTERM] {
            pipe::register(signal, signalled.try_clone()?)?;
        }
        Ok(EndSignals { stop, signalled, hung_up: Arc::default() })
    }

    /// Hears SIGHUP, too, unless the process was started to ignore it, as by nohup(1).
    ///
    /// # Errors
    /// The handler cannot be set up.
    pub fn hear_hang_up(&self) -> io::Result<()> {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if ignores_hang_up(&status) {
            return Ok(());
        }
        // In this order: the thread that is woken finds the flag set.
        flag::register(SIGHUP, Arc::clone(&self.hung_up))?;
        pipe::register(SIGHUP, self.signalled.try_clone()?)?;
        Ok(())
    }

    /// Lets SIGUSR2 write to the descriptor.
    ///
    /// # Errors
    /// The handler cannot be set up.
    pub fn hear_exchange(&self, trigger: OwnedFd) -> io::Result<()> {
        pipe::register(SIGUSR2, trigger)?;
        Ok(())
    }

    /// Whether SIGHUP was one of the signals.
    pub fn hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }
}

impl AsFd for EndSignals {
    /// Becomes readable when one of the signals has come.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }
}

/// Whether /proc/PID/status says that SIGHUP, the lowest bit of the mask, is ignored.
pub(crate) fn ignores_hang_up(status: &str) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hang_up_is_found_in_the_mask() {
        assert!(ignores_hang_up("Name:\tx\nSigIgn:\t0000000000001001\n"));
        assert!(!ignores_hang_up("Name:\tx\nSigIgn:\t0000000000001002\n"));
        assert!(!ignores_hang_up(""));
    }
}
