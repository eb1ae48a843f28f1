//! The servers of a process that was killed, out of their state pages.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::directory::Directory;
use super::journal::Pending;
use super::layout::{PARTS, Part};
use super::left::{Foreign, close_left, open_descriptors};
use super::map::{Area, Map};
use super::{Ledger, directory};
use crate::exchange::ProgramState;
use crate::pci::function::FunctionState;
use crate::raw_fds::duplicate;
use crate::server::{ClientDocument, ListenerState, ServerDocument};
use crate::session::SessionState;
use crate::state::{Descriptors, DeviceState, StateError};

/// So many crashes in a row under a device's code, and the device is not run any more.
const MAX_CRASHES: u32 = 5;

/// How the process before this one has ended.
#[derive(Clone, Debug)]
pub(crate) struct Crash {
    /// In words.
    pub reason: String,
    /// When the keeper heard of it.
    pub at: Instant,
    /// Descriptors that are neither that process's nor this one's.
    pub foreign: Vec<Foreign>,
}

/// What a server's part of the ledger says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerPart {
    pub listener: ListenerState,
    pub admitted: u64,
    pub rejected: u64,
    /// The present client's process, and when it got the device.
    pub process: Option<i32>,
    pub since: Option<std::time::SystemTime>,
}

/// What the program's page says.
#[derive(Debug, Serialize, Deserialize)]
struct ProgramPart {
    state: DeviceState,
    fds: Vec<RawFd>,
}

/// All of it, for a process that goes on.
#[derive(Debug)]
pub(crate) struct Recovered {
    directory: &'static Directory,
    crash: Crash,
    /// Descriptors that were open when this process began.
    left: Vec<RawFd>,
    /// Places of the pages, by the servers' names.
    entries: BTreeMap<String, usize>,
}

/// Servers by name, each with its descriptors.
pub(crate) type Servers = BTreeMap<String, (ServerDocument, Descriptors)>;

impl Recovered {
    /// Reads all pages. To be called before the process has opened anything.
    pub fn read(
        directory: &'static Directory,
        crash: Crash,
    ) -> (Self, Servers, Option<(DeviceState, Descriptors)>) {
        let is_foreign = |fd: &RawFd| crash.foreign.iter().any(|foreign| foreign.is(*fd));
        let left = open_descriptors().unwrap_or_else(|error| {
            log::warn!("descriptors of the last process stay open: {error}");
            Vec::new()
        });
        let left = left.into_iter().filter(|fd| !is_foreign(fd)).collect();
        let mut recovered = Recovered { directory, crash, left, entries: BTreeMap::new() };
        let mut servers = Servers::new();
        directory.free_reserved();
        for (entry, page) in directory.all() {
            match recovered.read_page(entry, page) {
                Ok(document) => {
                    let name = document.name().to_owned();
                    recovered.entries.insert(name.clone(), entry);
                    servers.insert(name, (document, Descriptors::left()));
                }
                Err(error) => log::error!("a server is lost, its state page is not whole: {error}"),
            }
        }
        let program = directory.program().and_then(|page| recovered.read_program(page));
        (recovered, servers, program)
    }

    /// The server of a page.
    fn read_page(&self, entry: usize, page: RawFd) -> Result<ServerDocument, StateError> {
        let map = Arc::new(Map::of(duplicate(page)?)?);
        if !map.is_valid() {
            return Err(StateError::Content("it has another layout".into()));
        }
        let crashes = map.crashes() + u32::from(map.is_inside());
        self.directory.set_crashes(entry, crashes);
        let server: ServerPart = map.part(Part::Server)?;
        let mut session: Option<SessionState> = map.part(Part::Session)?;
        if map.is_unkept() && session.take().is_some() {
            log::error!("{}: the client is lost, not all of it was kept", server.listener.name);
        }
        let reason = &self.crash.reason;
        let device: Option<DeviceState> = map.part(Part::Device)?;
        let down: Option<String> = match (&device, crashes) {
            (_, MAX_CRASHES..) => {
                Some(format!("the server crashed {crashes} times in a row in its code ({reason})"))
            }
            (None, _) if session.is_some() => Some(format!(
                "the server crashed ({reason}), and the device has no save and restore"
            )),
            _ => None,
        };
        let pending = Pending::of(&map);
        let client = session.map(|session| ClientDocument {
            process: server.process,
            since: server.since,
            session: session.with_pending(pending),
        });
        // Without a client, a new device is as good.
        let function = match (device, &client) {
            (None, None) => None,
            (device, _) => Some(FunctionState::of_parts(&map, device, down)?),
        };
        let ServerPart { listener, admitted, rejected, .. } = server;
        Ok(ServerDocument { listener, admitted, rejected, client, function })
    }

    fn read_program(&self, page: RawFd) -> Option<(DeviceState, Descriptors)> {
        let read = || -> Result<_, StateError> {
            let map = Map::of(duplicate(page)?)?;
            let ProgramPart { state, fds } = map.part(Part::Server)?;
            let fds = fds.into_iter().map(duplicate).collect::<Result<_, _>>()?;
            Ok((state, Descriptors::arrived(fds)))
        };
        read().inspect_err(|error| log::error!("what the program kept is lost: {error}")).ok()
    }

    /// Place of a server's page.
    pub fn entry(&self, name: &str) -> Option<usize> {
        self.entries.get(name).copied()
    }

    /// All servers have pages of their own now: closes what that process has left. `lost` are the
    /// servers that this process does not have.
    pub fn finish(self, lost: Vec<String>) {
        for name in lost {
            if let Some(entry) = self.entries.get(&name) {
                self.directory.set(*entry, None);
            }
        }
        close_left(&self.left);
        log::warn!(
            "{}; this process goes on with {} servers after {} ms",
            self.crash.reason,
            self.entries.len(),
            self.crash.at.elapsed().as_millis()
        );
    }
}

/// Keeps what a program has beside its servers. The page is there as long as the process.
pub(crate) fn keep_program(program: ProgramState) {
    let Some(directory) = directory() else { return };
    let keep = || -> std::io::Result<()> {
        let map = Map::new()?;
        let fds = program.fds.borrow().iter().map(AsRawFd::as_raw_fd).collect();
        let text = serde_json::to_vec(&ProgramPart { state: program.state.clone(), fds })?;
        let place = Part::Server.large(0);
        if text.len() > place.len() {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        let mut area: Area = map.area(PARTS);
        area.write(place.start, &text);
        map.set_part_length(Part::Server, text.len());
        directory.set_program(map.as_fd().as_raw_fd());
        // Both are for the process that may take this one's place.
        std::mem::forget((map, area, program));
        Ok(())
    };
    if let Err(error) = keep() {
        log::warn!("what the program keeps beside its servers is lost with a crash: {error}");
    }
}

impl Ledger {
    /// A ledger for the server of that name, if this process is kept.
    pub fn of_kept_process(entry: Option<usize>) -> Option<Self> {
        let ledger = Ledger::new(directory()?, entry);
        let warn = |error: &std::io::Error| {
            log::warn!("no state page for a server, a crash loses its client: {error}");
        };
        ledger.inspect_err(warn).ok()
    }
}
