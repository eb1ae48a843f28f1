//! Servers on their way to another process.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::device_server::{InheritedClient, Options, Server, pci_function};
use super::document::ServerDocument;
use super::error::ServerError;
use super::listener::Listener;
use super::running::RunningServer;
use super::state::ServerState;
use crate::device::Device;
use crate::exchange::{Exchange, ExchangeError, Successor};
#[cfg(feature = "cli")]
use crate::exchange::{ProgramState, store};
use crate::keeper;
use crate::session::ClientLink;
use crate::state::{Descriptors, StateError};

/// How long all sessions may take to come to rest: those that rest already wait for the others.
const REST_TIMEOUT: Duration = Duration::from_secs(1);
/// How long it is tried again. A client may answer late what the device wants of its memory.
const RETRY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long all sessions go on between two attempts.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Servers whose sessions rest. They go on when this goes.
struct Resting<'s>(&'s [Arc<RunningServer>]);

impl<'s> Resting<'s> {
    /// Lets all sessions rest, in one of several attempts. Also returns when that one began: clients may
    /// wait since.
    fn within_attempts(
        servers: &'s [Arc<RunningServer>],
    ) -> Result<(Self, Instant), ExchangeError> {
        let last = Instant::now() + RETRY_TIMEOUT;
        loop {
            let begin = Instant::now();
            match Resting::new(servers) {
                Err(ExchangeError::Busy(name)) if begin < last => {
                    log::info!("{name}: its session does not come to rest, trying again");
                    std::thread::sleep(RETRY_PAUSE);
                }
                rested => return rested.map(|resting| (resting, begin)),
            }
        }
    }

    /// Lets all sessions rest.
    fn new(servers: &'s [Arc<RunningServer>]) -> Result<Self, ExchangeError> {
        let deadline = Instant::now() + REST_TIMEOUT;
        let resting = Resting(servers);
        servers.iter().for_each(|server| server.ask_to_rest());
        match servers.iter().find(|server| !server.wait_until_at_rest(deadline)) {
            Some(busy) => Err(ExchangeError::Busy(busy.name().to_owned())),
            None => Ok(resting),
        }
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.iter().for_each(|server| server.go_on());
    }
}

/// Hands all servers to a new process. Returns its number; the servers are not this process's any
/// more then.
///
/// # Errors
/// See [`ExchangeError`]; everything goes on as before.
pub(super) fn exchange(
    servers: &[Arc<RunningServer>],
    how: Exchange,
) -> Result<u32, ExchangeError> {
    let Exchange { command, save } = how;
    let mut successor = Successor::start(command)?;
    let (resting, begin) = Resting::within_attempts(servers)?;
    successor.clients_wait_since(begin);
    for server in servers {
        let (document, fds) = document(server)?;
        successor.give_server(&document, &fds)?;
    }
    let program = save()?;
    successor.make_ready(&program)?;
    // Nothing is to go on after this process, however it ends.
    keeper::set_finished(true);
    let process = successor.go().inspect_err(|_| keeper::set_finished(false))?;
    // Their sessions rest for ever here.
    std::mem::forget(resting);
    servers.iter().for_each(|server| server.hand_over());
    log::warn!(
        "process {process} goes on with {} servers; their clients waited {} ms",
        servers.len(),
        begin.elapsed().as_millis()
    );
    Ok(process)
}

/// Puts all servers into systemd's store, for the process that is started next. They are not this
/// process's any more then.
///
/// # Errors
/// See [`ExchangeError`]; everything goes on as before.
#[cfg(feature = "cli")]
pub(super) fn put_into_store(
    servers: &[Arc<RunningServer>],
    program: &ProgramState,
) -> Result<(), ExchangeError> {
    let (resting, _) = Resting::within_attempts(servers)?;
    let documents = servers.iter().map(|server| document(server)).collect::<Result<_, _>>()?;
    store::give(&store::fill(documents, program)?)?;
    // Their sessions rest for ever here.
    std::mem::forget(resting);
    servers.iter().for_each(|server| server.hand_over());
    Ok(())
}

/// A server whose session rests, and its descriptors.
fn document(server: &RunningServer) -> Result<(ServerDocument, Descriptors), ExchangeError> {
    let mut fds = Descriptors::default();
    match server.document(&mut fds) {
        Ok(document) => Ok((document, fds)),
        Err(source) => Err(ExchangeError::State { server: server.name().to_owned(), source }),
    }
}

impl Server {
    /// The server of another process, with a device that takes the place of its device.
    pub(crate) fn restored(
        document: ServerDocument,
        mut fds: Descriptors,
        device: impl Device + 'static,
        options: Options,
        files_left: &Arc<AtomicBool>,
    ) -> Result<Self, ServerError> {
        let name = document.name().to_owned();
        let failed = |source: StateError| ServerError::Exchange { name: name.clone(), source };
        let mut function = pci_function(device)?;
        if let Some(state) = document.function {
            function.restore(state, &mut fds).map_err(failed)?;
            if let Some(reason) = function.panic() {
                log::error!("{name}: the device is disabled: {reason}");
            }
        }
        let listener =
            Listener::restore(document.listener, &mut fds, files_left).map_err(failed)?;
        let mut server = Server::new(listener, function, options);
        server.state = ServerState::counted(document.admitted, document.rejected);
        if let Some(client) = document.client {
            let session = ClientLink::restore(client.session, &mut fds).map_err(failed)?;
            server.client = Some(InheritedClient {
                process: client.process,
                since: client.since,
                session: Box::new(session),
            });
        }
        Ok(server)
    }
}
