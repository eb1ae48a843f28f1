//! Telling whoever started the server that its socket listens.

use std::fs::File;
use std::io::Write;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use anyhow::{Context, bail};
use sd_notify::NotifyState;

/// Standard error. Its number, and those below it, have to stay taken: a client's socket that came
/// by one of them would be written log lines to.
const LAST_STANDARD_STREAM: RawFd = 2;

/// Whom to tell.
pub struct Readiness {
    pipe: Option<File>,
}

impl Readiness {
    /// Takes the descriptor that the command line names, if it names one. To be called before the
    /// process opens any itself.
    ///
    /// # Errors
    /// The number is not that of an open descriptor.
    pub fn new(ready_fd: Option<u32>) -> anyhow::Result<Self> {
        let Some(number) = ready_fd else {
            return Ok(Readiness { pipe: None });
        };
        let raw = RawFd::try_from(number).context("--ready-fd")?;
        // SAFETY: only for the question whether this number is an open descriptor; the answer for
        // one that is not is an error.
        let open = unsafe { BorrowedFd::borrow_raw(raw) };
        if rustix::io::fcntl_getfd(open).is_err() {
            bail!("--ready-fd {number}: no such open file descriptor; pass one, as in 3>&1");
        }
        let owned = if raw <= LAST_STANDARD_STREAM {
            open.try_clone_to_owned().context("--ready-fd")?
        } else {
            // SAFETY: the descriptor is open, this process has opened none itself yet (see `new`), and
            // it was given to this process for this use alone.
            unsafe { OwnedFd::from_raw_fd(raw) }
        };
        Ok(Readiness { pipe: Some(owned.into()) })
    }

    /// Writes a newline to the descriptor and closes it; notifies systemd if it is there.
    ///
    /// # Errors
    /// Writing failed.
    pub fn announce(self) -> anyhow::Result<()> {
        if let Some(mut pipe) = self.pipe {
            pipe.write_all(b"\n").context("--ready-fd: cannot write the newline")?;
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            log::warn!("cannot notify systemd: {error}");
        }
        Ok(())
    }
}
