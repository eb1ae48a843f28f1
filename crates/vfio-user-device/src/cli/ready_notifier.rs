//! Tells the parent process or systemd that the sockets listen.

use std::fs::File;
use std::io::Write;

use sd_notify::NotifyState;

use super::ProgramError;
use super::inherited_fds::InheritedFds;

/// What to notify.
#[derive(Debug, Default)]
pub struct ReadyNotifier {
    pipe: Option<File>,
}

impl ReadyNotifier {
    /// Takes the descriptor that the command line names, if it names one.
    ///
    /// # Errors
    /// The number is not that of an open descriptor.
    pub fn new(ready_fd: Option<u32>, given: &mut InheritedFds) -> Result<Self, ProgramError> {
        let pipe = ready_fd.map(|number| given.take("--ready-fd", number)).transpose()?;
        Ok(ReadyNotifier { pipe: pipe.map(File::from) })
    }

    /// Writes a newline to the descriptor and closes it; notifies systemd if it is there.
    ///
    /// # Errors
    /// Writing failed.
    pub fn notify(self) -> Result<(), ProgramError> {
        if let Some(mut pipe) = self.pipe {
            pipe.write_all(b"\n").map_err(ProgramError::Announce)?;
        }
        notify_systemd(NotifyState::Ready);
        Ok(())
    }
}

/// Tells systemd, if it is there.
pub(super) fn notify_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        log::warn!("cannot notify systemd: {error}");
    }
}
