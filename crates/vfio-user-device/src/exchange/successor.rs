//! The new process, as the old one sees it.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::channel::{Channel, FromNew, FromOld, VERSION};
use super::{ExchangeError, ProgramState, VARIABLE};
use crate::state::Descriptors;

/// How long the new process may take to start. The old one serves meanwhile.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// How long clients may have to wait. QEMU gives a device up after 5 s.
const REST_TIMEOUT: Duration = Duration::from_secs(3);
/// Most messages that the new process has not taken yet. Each wait for it makes the clients wait longer.
const MAX_SENT: usize = 64;
/// Most descriptors in these: the system allows only so many that are on their way.
const MAX_SENT_FDS: usize = 256;

/// A process that is to take the place of this one. It is ended when the value goes before
/// [`Successor::go`].
#[derive(Debug)]
pub(crate) struct Successor {
    process: Option<Child>,
    channel: Channel,
    /// Messages that it has not taken yet, and their descriptors.
    sent: usize,
    sent_fds: usize,
}

impl Successor {
    /// Starts it, and waits until it has started.
    ///
    /// # Errors
    /// It cannot be started, ends, or speaks another version.
    pub fn start(mut command: Command) -> Result<Self, ExchangeError> {
        let (ours, theirs) = UnixStream::pair()?;
        let channel = Channel::new(ours, Instant::now() + START_TIMEOUT);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).env(VARIABLE, VERSION.to_string());
        let program = command.get_program().to_string_lossy().into_owned();
        let process = command.spawn().map_err(|source| ExchangeError::Start { program, source })?;
        // The command has the other end, which is to be the new process's alone.
        drop(command);
        let mut successor = Successor { process: Some(process), channel, sent: 0, sent_fds: 0 };
        match successor.channel.receive()?.0 {
            FromNew::Hello { version: VERSION } => {}
            FromNew::Hello { version: found } => {
                return Err(ExchangeError::Version { found, known: VERSION });
            }
            other => return Err(unexpected(&other)),
        }
        Ok(successor)
    }

    /// Clients have to wait from that moment on, which has to end in time.
    pub fn clients_wait_since(&mut self, begin: Instant) {
        self.channel.set_deadline(begin + REST_TIMEOUT);
    }

    /// Hands a server over.
    ///
    /// # Errors
    /// It has ended, or takes too long.
    pub fn give_server(
        &mut self,
        document: &impl Serialize,
        fds: &Descriptors,
    ) -> Result<(), ExchangeError> {
        self.give(&FromOld::Server(document), fds)
    }

    /// Hands over what the program keeps, and waits until the new process is ready.
    ///
    /// # Errors
    /// It has ended, takes too long, or says why it cannot.
    pub fn make_ready(&mut self, program: &ProgramState) -> Result<(), ExchangeError> {
        self.give(&FromOld::<()>::Program(program.state.clone()), &program.fds)?;
        self.channel.send(&FromOld::<()>::End, &Descriptors::default())?;
        self.wait_until_taken()?;
        match self.channel.receive()?.0 {
            FromNew::Ready => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Lets it serve. Returns its process number.
    ///
    /// # Errors
    /// It has ended in the last moment.
    pub fn go(mut self) -> Result<u32, ExchangeError> {
        self.channel.send(&FromOld::<()>::Go, &Descriptors::default())?;
        Ok(self.process.take().map_or(0, |process| process.id()))
    }

    fn give(&mut self, message: &impl Serialize, fds: &Descriptors) -> Result<(), ExchangeError> {
        let more = fds.borrow().len();
        if self.sent == MAX_SENT || self.sent_fds + more > MAX_SENT_FDS {
            self.wait_until_taken()?;
        }
        if let Err(error) = self.channel.send(message, fds) {
            // It may have said why it does not read.
            self.wait_until_taken()?;
            return Err(error);
        }
        self.sent += 1;
        self.sent_fds += more;
        Ok(())
    }

    fn wait_until_taken(&mut self) -> Result<(), ExchangeError> {
        self.sent_fds = 0;
        for _ in 0..std::mem::take(&mut self.sent) {
            match self.channel.receive()?.0 {
                FromNew::Taken => {}
                other => return Err(unexpected(&other)),
            }
        }
        Ok(())
    }
}

fn unexpected(message: &FromNew) -> ExchangeError {
    match message {
        FromNew::Failed(reason) => ExchangeError::Refused(reason.clone()),
        other => ExchangeError::Message(format!("{other:?}")),
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
