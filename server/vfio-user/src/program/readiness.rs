//! Telling whoever started the program that its socket listens.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use sd_notify::NotifyState;

use super::ProgramError;

/// Standard error. Its number, and those below it, have to stay taken: a client's socket that came
/// by one of them would be written log lines to.
const LAST_STANDARD_STREAM: RawFd = 2;

/// Whom to tell.
#[derive(Debug)]
pub struct Readiness {
    pipe: Option<File>,
}

impl Readiness {
    /// Takes the descriptor that the command line names, if it names one. To be called before the
    /// process opens any itself.
    ///
    /// # Errors
    /// The number is not that of an open descriptor.
    pub fn new(ready_fd: Option<u32>) -> Result<Self, ProgramError> {
        let pipe = ready_fd
            .map(|number| take(number).map_err(|source| ProgramError::ReadyFd { number, source }));
        Ok(Readiness { pipe: pipe.transpose()? })
    }

    /// Writes a newline to the descriptor and closes it; notifies systemd if it is there.
    ///
    /// # Errors
    /// Writing failed.
    pub fn announce(self) -> Result<(), ProgramError> {
        if let Some(mut pipe) = self.pipe {
            pipe.write_all(b"\n").map_err(ProgramError::Announce)?;
        }
        if let Err(error) = sd_notify::notify(&[NotifyState::Ready]) {
            log::warn!("cannot notify systemd: {error}");
        }
        Ok(())
    }
}

/// Makes a descriptor that this process was given its own.
fn take(number: u32) -> io::Result<File> {
    let raw = RawFd::try_from(number).map_err(|_| Errno::BADF)?;
    // SAFETY: only for the question whether this number is an open descriptor; the answer for one
    // that is not is an error.
    let open = unsafe { BorrowedFd::borrow_raw(raw) };
    rustix::io::fcntl_getfd(open)?;
    if raw <= LAST_STANDARD_STREAM {
        return Ok(open.try_clone_to_owned()?.into());
    }
    // SAFETY: the descriptor is open, this process has opened none itself yet (see
    // `Readiness::new`), and it was given to this process for this use alone.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) }.into())
}
