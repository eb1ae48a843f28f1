//! Telling whoever started the program that its socket listens.

use std::fs::File;
use std::io::Write;

use sd_notify::NotifyState;

use super::ProgramError;
use super::given::Given;

/// Whom to tell.
#[derive(Debug)]
pub struct Readiness {
    pipe: Option<File>,
}

impl Readiness {
    /// Takes the descriptor that the command line names, if it names one.
    ///
    /// # Errors
    /// The number is not that of an open descriptor.
    pub fn new(ready_fd: Option<u32>, given: &mut Given) -> Result<Self, ProgramError> {
        let pipe = ready_fd.map(|number| given.take("--ready-fd", number)).transpose()?;
        Ok(Readiness { pipe: pipe.map(File::from) })
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
