//! Descriptors that this process inherited: named on its command line, or passed by systemd.

use std::os::fd::{OwnedFd, RawFd};

use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};

use super::ProgramError;
use crate::exchange::store::NAME as STORED;
use crate::raw_fds::{by_number, own};
use crate::server::unsuitable_as_listener;

/// Standard error. Its number, and those below it, have to stay taken: a client's socket that came
/// by one of them would be written log lines to.
const LAST_STANDARD_STREAM: RawFd = 2;

/// A socket that this process was given.
#[derive(Debug)]
pub struct PassedSocket {
    /// What the unit file calls it (`FileDescriptorName=`), "unknown" without a name; or
    /// "fd N".
    pub name: String,
    /// The socket: a listening unix stream socket.
    pub socket: OwnedFd,
}

/// What systemd has passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    pub sockets: Vec<PassedSocket>,
    /// What the last process of the service has left in the descriptor store.
    pub stored: Option<OwnedFd>,
}

/// Makes descriptors the process's own, each of them once.
///
/// There is one in a program, before the program has opened anything itself: the numbers could
/// otherwise be those of its own descriptors.
#[derive(Debug, Default)]
pub(super) struct InheritedFds {
    /// What systemd says it has passed.
    passed: Vec<(RawFd, String)>,
    taken: Vec<RawFd>,
}

impl InheritedFds {
    /// Reads the variables of socket activation (sd_listen_fds(3)). They stay: they name this process,
    /// so that one it may start has no use for them.
    ///
    /// # Errors
    /// The variables contradict each other, or what is open.
    pub fn new() -> Result<Self, ProgramError> {
        let mut inherited = InheritedFds::default();
        // Names that are for another process are of no descriptor of this one's.
        if sd_notify::listen_fds().map_err(ProgramError::ListenFds)?.len() > 0 {
            let passed = sd_notify::listen_fds_with_names().map_err(ProgramError::ListenFds)?;
            inherited.passed = passed.collect();
        }
        Ok(inherited)
    }

    /// Takes what an option names. It is closed on exec(2) from now on.
    ///
    /// # Errors
    /// Nothing is open by that number, or it was taken before.
    pub fn take(&mut self, option: &'static str, number: u32) -> Result<OwnedFd, ProgramError> {
        let io_error = |source| ProgramError::Descriptor { option, number, source };
        let error = |source: Errno| io_error(source.into());
        let raw = RawFd::try_from(number).map_err(|_| error(Errno::BADF))?;
        if self.taken.contains(&raw) {
            return Err(ProgramError::Twice(number));
        }
        let open = by_number(raw).map_err(io_error)?;
        let flags = fcntl_getfd(&*open).map_err(error)?;
        if raw <= LAST_STANDARD_STREAM {
            return open.try_clone().map_err(io_error);
        }
        fcntl_setfd(&*open, flags | FdFlags::CLOEXEC).map_err(error)?;
        self.taken.push(raw);
        // It is open, this process has opened none itself yet and has not taken this one before (see
        // `InheritedFds`), and it was given to this process for this use alone.
        own(raw).map_err(io_error)
    }

    /// Takes the listening socket that an option names.
    ///
    /// # Errors
    /// As [`InheritedFds::take`], or it is something else.
    pub fn take_listener(
        &mut self,
        option: &'static str,
        number: u32,
    ) -> Result<OwnedFd, ProgramError> {
        let socket = self.take(option, number)?;
        match unsuitable_as_listener(&socket) {
            None => Ok(socket),
            Some(what) => Err(ProgramError::NotListening { option, number, what }),
        }
    }

    /// Takes the sockets of systemd's socket activation, in the order of the unit file, and what is in
    /// its descriptor store. None if this process was not started by it.
    ///
    /// # Errors
    /// What the variables name is not open, or something else.
    pub fn take_passed(&mut self) -> Result<Passed, ProgramError> {
        let mut passed = Passed::default();
        for (number, name) in std::mem::take(&mut self.passed) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            if name == STORED {
                passed.stored = Some(self.take("LISTEN_FDS", number)?);
            } else {
                let socket = self.take_listener("LISTEN_FDS", number)?;
                passed.sockets.push(PassedSocket { name, socket });
            }
        }
        Ok(passed)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, IntoRawFd};

    use super::*;

    fn number_of(descriptor: impl Into<OwnedFd>) -> u32 {
        u32::try_from(descriptor.into().into_raw_fd()).unwrap()
    }

    #[test]
    fn a_descriptor_is_taken_once_and_closed_on_exec() {
        let (reader, _writer) = rustix::pipe::pipe().unwrap();
        let number = number_of(reader);
        let mut given = InheritedFds::default();
        let taken = given.take("--fd", number).unwrap();
        assert!(fcntl_getfd(&taken).unwrap().contains(FdFlags::CLOEXEC));
        let error = given.take("--ready-fd", number).unwrap_err();
        assert!(matches!(error, ProgramError::Twice(twice) if twice == number), "{error}");
    }

    #[test]
    fn a_standard_stream_stays_open() {
        let taken = InheritedFds::default().take("--fd", 2).unwrap();
        assert!(taken.as_raw_fd() > 2);
    }

    #[test]
    fn a_number_that_is_not_open_is_named_with_its_option() {
        for number in [777_777, u32::MAX] {
            let error = InheritedFds::default().take("--fd", number).unwrap_err().to_string();
            assert!(error.starts_with(&format!("--fd {number}: ")), "{error}");
        }
    }
}
