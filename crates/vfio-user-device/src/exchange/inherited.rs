//! What a process has got from the one whose place it takes.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;
use rustix::stdio::{dup2_stdin, stdin};
use serde::{Deserialize, Serialize};

use super::channel::{Channel, FromNew, FromOld, VERSION};
#[cfg(feature = "cli")]
use super::store::{self, Stored};
use super::{ExchangeError, VARIABLE};
use crate::causes::with_causes;
use crate::device::Device;
#[cfg(feature = "cli")]
use crate::keeper::{Crash, Directory};
use crate::keeper::{Recovered, Servers};
use crate::server::{Listener, ListenerState, Options, Server, ServerDocument, ServerError};
use crate::state::{Descriptors, DeviceState, StateError};

/// How long the other process may take for all of it.
const HAND_OVER_TIMEOUT: Duration = Duration::from_secs(20);

/// What a program keeps beside its servers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Program {
    pub state: DeviceState,
    pub sockets: Vec<ListenerState>,
}

/// Servers and state of another process, whose place this one takes.
#[derive(Debug)]
pub struct Inherited {
    /// To the other process; none to one that has crashed.
    channel: Option<Channel>,
    /// What is left of one that has crashed.
    recovered: Option<Recovered>,
    /// By name.
    servers: Servers,
    state: DeviceState,
    sockets: Vec<Listener>,
    /// Socket files are the other process's until it says "go".
    files_left: Arc<AtomicBool>,
}

impl Inherited {
    /// Takes over what another process hands over, if this one was started for that. To be called
    /// before the program has opened anything.
    ///
    /// # Errors
    /// The other process speaks another version, or has ended.
    pub fn receive() -> Result<Option<Self>, ExchangeError> {
        let Some(version) = std::env::var_os(VARIABLE) else { return Ok(None) };
        // A process that this one has started for something else has the variable, too.
        if socket_type(stdin()) != Ok(SocketType::STREAM) {
            return Ok(None);
        }
        let socket = UnixStream::from(stdin().try_clone_to_owned()?);
        let nothing: OwnedFd = open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(std::io::Error::from)?;
        dup2_stdin(&nothing).map_err(std::io::Error::from)?;
        let mut channel = Channel::new(socket, Instant::now() + HAND_OVER_TIMEOUT);
        let nothing = Descriptors::default();
        channel.send(&FromNew::Hello { version: VERSION }, &nothing)?;
        if version.to_str() != Some(&VERSION.to_string()) {
            let found = version.to_str().and_then(|version| version.parse().ok()).unwrap_or(0);
            return Err(ExchangeError::Version { found, known: VERSION });
        }
        let mut inherited = Inherited::of(BTreeMap::new());
        inherited.files_left.store(true, Ordering::Release);
        let received = inherited.receive_all(&mut channel);
        inherited.channel = Some(channel);
        if let Err(error) = &received {
            inherited.fail(error);
        }
        received.map(|()| Some(inherited))
    }

    /// Takes over what a process has left that has crashed.
    #[cfg(feature = "cli")]
    pub(crate) fn recover(directory: &'static Directory, crash: Crash) -> Self {
        let (recovered, servers, program) = Recovered::read(directory, crash);
        let mut inherited = Inherited::of(servers);
        inherited.recovered = Some(recovered);
        if let Some((state, mut fds)) = program {
            if let Err(error) = inherited.take_program(state, &mut fds) {
                log::error!("what the program kept is lost: {error}");
            }
        }
        inherited
    }

    /// Takes over what a process has left in systemd's store.
    ///
    /// # Errors
    /// It is of another version, or not whole.
    #[cfg(feature = "cli")]
    pub(crate) fn of_store(socket: OwnedFd) -> Result<Self, ExchangeError> {
        let Stored { servers, program: (state, mut fds) } = store::empty(socket)?;
        let named =
            |(document, fds): (ServerDocument, _)| (document.name().to_owned(), (document, fds));
        let mut inherited = Inherited::of(servers.into_iter().map(named).collect());
        inherited.take_program(state, &mut fds).map_err(wrong)?;
        Ok(inherited)
    }

    /// Servers of a process that has ended.
    fn of(servers: Servers) -> Self {
        Inherited {
            channel: None,
            recovered: None,
            servers,
            state: DeviceState::none(),
            sockets: Vec::new(),
            files_left: Arc::new(AtomicBool::new(false)),
        }
    }

    fn receive_all(&mut self, channel: &mut Channel) -> Result<(), ExchangeError> {
        loop {
            let (message, mut fds) = channel.receive::<FromOld<ServerDocument>>()?;
            match message {
                FromOld::Server(document) => {
                    self.servers.insert(document.name().to_owned(), (document, fds));
                }
                FromOld::Program(state) => self.take_program(state, &mut fds).map_err(wrong)?,
                FromOld::End => return Ok(()),
                FromOld::Go => {
                    return Err(ExchangeError::Message("go, before all has come".into()));
                }
            }
            channel.send(&FromNew::Taken, &Descriptors::default())?;
        }
    }

    fn take_program(
        &mut self,
        state: DeviceState,
        fds: &mut Descriptors,
    ) -> Result<(), StateError> {
        if state.is_none() {
            return Ok(());
        }
        let Program { state, sockets } = state.get()?;
        let sockets =
            sockets.into_iter().map(|state| Listener::restore(state, fds, &self.files_left));
        self.sockets = sockets.collect::<Result<_, _>>()?;
        self.state = state;
        Ok(())
    }

    /// Whether the other process has crashed: it has not said what it keeps beside its servers since it
    /// began to serve.
    pub fn is_after_crash(&self) -> bool {
        self.recovered.is_some()
    }

    /// Names of the servers that have not been taken.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.keys().map(String::as_str)
    }

    /// Whether there is a server with that name that was not taken.
    pub fn has_server(&self, name: &str) -> bool {
        self.servers.contains_key(name)
    }

    /// What the program that goes has said of itself.
    pub fn state(&self) -> &DeviceState {
        &self.state
    }

    /// The sockets of that program, beside its servers.
    pub fn take_sockets(&mut self) -> Vec<Listener> {
        std::mem::take(&mut self.sockets)
    }

    /// The server with that name, with a device that takes the place of its device. `None` if there
    /// was no such server.
    ///
    /// # Errors
    /// The device is impossible, or cannot take the state; the other process goes on then.
    pub fn server(
        &mut self,
        name: &str,
        device: impl Device + 'static,
        options: Options,
    ) -> Option<Result<Server, ServerError>> {
        let (document, fds) = self.servers.remove(name)?;
        let mut server = Server::restored(document, fds, device, options, &self.files_left);
        if let Err(error) = &server {
            self.fail(error);
        }
        if let (Some(recovered), Ok(server)) = (&self.recovered, &mut server) {
            server.entry = recovered.entry(name);
        }
        Some(server)
    }

    /// Tells the other process why it has to go on.
    pub fn fail(&mut self, error: &dyn std::error::Error) {
        let reason = with_causes(error);
        if let Some(channel) = &mut self.channel {
            // It may have ended.
            let _ = channel.send(&FromNew::Failed(reason), &Descriptors::default());
        }
    }

    /// Says that this process could serve at once, and waits until it may.
    ///
    /// # Errors
    /// Clients of a server that was not taken would be lost, or the other process goes on.
    pub fn ready(mut self) -> Result<(), ExchangeError> {
        if let Some(recovered) = self.recovered.take() {
            recovered.finish(self.names().map(str::to_owned).collect());
            return Ok(());
        }
        let connected = |(document, _): &&(ServerDocument, Descriptors)| document.has_client();
        if let Some((document, _)) = self.servers.values().find(connected) {
            let what =
                format!("{} has a client, and the new process does not serve it", document.name());
            let error = ExchangeError::Program(what);
            self.fail(&error);
            return Err(error);
        }
        let Some(channel) = &mut self.channel else { return Ok(()) };
        channel.send(&FromNew::Ready, &Descriptors::default())?;
        match channel.receive::<FromOld<ServerDocument>>()?.0 {
            FromOld::Go => {
                self.files_left.store(false, Ordering::Release);
                Ok(())
            }
            _ => Err(ExchangeError::Message("no go".into())),
        }
    }
}

/// What the program kept does not make sense.
fn wrong(error: StateError) -> ExchangeError {
    ExchangeError::Program(error.to_string())
}
