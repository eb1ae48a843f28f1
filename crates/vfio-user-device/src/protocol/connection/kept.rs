//! A connection whose messages and answers are kept for a process that takes this one's place after a
//! crash.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::Connection;
use crate::keeper::Journal;
use crate::protocol::connection_error::ConnectionError;

impl Connection {
    /// Keeps what arrives and is sent from now on.
    pub fn set_journal(&mut self, journal: Journal) {
        self.journal = Some(Box::new(journal));
    }

    /// Whether a message was handed out since the last epoch began.
    pub fn has_handed_out_message(&self) -> bool {
        self.consumed > 0
    }

    /// Whether bytes or descriptors lie here that are not of the message which was handed out.
    pub fn has_rest(&self) -> bool {
        self.head_filled > self.consumed || !self.fds.fds.is_empty()
    }

    /// What was handed out has been carried out, and what lies here is kept elsewhere.
    pub fn begin_epoch(&mut self) {
        self.forget_last_message();
        if let Some(journal) = &mut self.journal {
            journal.begin_epoch();
        }
    }

    /// Writes an answer to the journal, to be [transmitted](Connection::transmit) after a commit. Returns
    /// false if it is not kept.
    pub fn stage(&mut self, parts: [&[u8]; 3], fd: Option<BorrowedFd<'_>>) -> bool {
        self.journal.as_mut().is_some_and(|journal| journal.stage(parts, fd))
    }

    /// Sends the answer in the journal.
    ///
    /// # Errors
    /// As [`Connection::send`].
    pub fn transmit(&mut self) -> Result<(), ConnectionError> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.transmit(std::os::fd::AsFd::as_fd(&*self.socket)) {
            Ok(()) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(ConnectionError::Closed),
            Err(errno) => Err(errno.into()),
        }
    }
}
