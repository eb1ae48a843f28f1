//! The daemon: guests that come and go with its configuration.
//!
//! The [kit](vfio_user_kit) serves the sockets. Here is what stands around that: the shared sources,
//! the class numbers that outlast a restart, a configuration that is read again on SIGHUP, and a
//! control socket that says how everybody is.

mod control;
mod gate;
mod guest;
mod identifiers;
mod kept;
mod overseer;
mod rates;
mod reload;
pub mod snapshot;
mod sources;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use my_rng_server::config::{self, Configuration, GuestSource};
use vfio_user_kit::program::Program;
use vfio_user_kit::{Servers, descriptors_remedy};

use gate::GuestGate;
use guest::{Guest, Needs};
use identifiers::StatusFile;
use kept::{ClassGate, Kept};
use snapshot::{ClassStatus, ClientStatus, GuestStatus, Snapshot};
use sources::{Family, Sources};

/// What a daemon is started with.
pub struct Start {
    /// What it is to do.
    pub configuration: Configuration,
    /// Where the configuration was read, to be read again on SIGHUP.
    pub file: Option<PathBuf>,
    /// Sockets that listen already, by the paths that the configuration has for them.
    pub listeners: BTreeMap<PathBuf, OwnedFd>,
    /// How long to ask for a guest's next message again and again.
    pub busy_poll: Duration,
}

/// Everything that it serves.
struct Daemon {
    configuration: Configuration,
    listeners: BTreeMap<PathBuf, OwnedFd>,
    busy_poll: Duration,
    servers: Servers,
    sources: Sources,
    guests: BTreeMap<String, Guest>,
    kept: Arc<Kept>,
    /// See [`GuestGate`].
    admissions: Arc<RwLock<()>>,
    started: Instant,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// A guest, a shared source or the control socket cannot be had.
pub fn run(program: Program, start: Start) -> Result<()> {
    let ending = Arc::new(AtomicBool::new(false));
    let signals = overseer::Signals::new(&ending, start.file.is_some())?;
    if start.file.is_none() {
        program.end_on_hang_up()?;
    }
    let control = start.configuration.control_socket.as_deref();
    let control = control.map(control::Control::bind).transpose()?;
    let file = start.file.clone();
    let servers = Servers::new()?;
    let daemon = Arc::new(Mutex::new(Daemon::start(start, servers.clone(), ending)?));
    let overseer = overseer::start(signals, control, file, Arc::clone(&daemon))?;
    let served =
        program.run(&servers, || daemon.lock().unwrap_or_else(PoisonError::into_inner).connected());
    overseer.stop();
    daemon.lock().unwrap_or_else(PoisonError::into_inner).close();
    Ok(served?)
}

impl Daemon {
    fn start(start: Start, servers: Servers, ending: Arc<AtomicBool>) -> Result<Self> {
        let file = StatusFile::new(start.configuration.status_file.clone());
        let mut daemon = Daemon {
            configuration: Configuration::default(),
            listeners: start.listeners,
            busy_poll: start.busy_poll,
            servers,
            sources: Sources::default(),
            guests: BTreeMap::new(),
            kept: Arc::new(Kept::load(file, ending)?),
            admissions: Arc::default(),
            started: Instant::now(),
        };
        let configuration = start.configuration;
        for family in Family::all_of(&configuration) {
            daemon.sources.start(&family, &daemon.kept)?;
        }
        for guest in &configuration.guests {
            daemon.start_guest(&configuration, guest)?;
        }
        daemon.configuration = configuration;
        // If it cannot be written, somebody should know before it is needed.
        daemon.kept.store();
        Ok(daemon)
    }

    /// Closes what is still open in the end: what a reload has opened meanwhile, and the sources.
    /// Clients of the control socket may have the daemon for longer than that.
    fn close(&mut self) {
        let mut guests: Vec<_> = std::mem::take(&mut self.guests).into_values().collect();
        Guest::disconnect(&mut guests, &self.servers);
        drop(guests);
        self.sources = Sources::default();
    }

    fn start_guest(&mut self, configuration: &Configuration, guest: &config::Guest) -> Result<()> {
        let listener = self.listeners.get(&guest.socket).map(OwnedFd::try_clone).transpose()?;
        let class = self.class_for(configuration, guest)?;
        let gate = Arc::new(GuestGate::new(Arc::clone(&self.admissions), class.clone()));
        let needs =
            Needs { servers: &self.servers, listener, class, gate, busy_poll: self.busy_poll };
        let running = Guest::start(guest.clone(), needs)
            .with_context(|| format!("guest {:?}", guest.name))?;
        self.guests.insert(guest.name.clone(), running);
        Ok(())
    }

    /// A guest's part of its shared source, if it has one.
    fn class_for(
        &self,
        configuration: &Configuration,
        guest: &config::Guest,
    ) -> Result<Option<Arc<ClassGate>>> {
        let GuestSource::Shared { parent, bandwidth } = &guest.source else { return Ok(None) };
        let name = configuration.source_of(parent).context("its class has no source")?;
        let source = self.sources.get(name).context("its source is not open")?;
        Ok(Some(Arc::new(ClassGate {
            share: source.share(parent, &guest.name, *bandwidth),
            source: name.to_owned(),
            guest: guest.name.clone(),
            kept: Arc::clone(&self.kept),
        })))
    }

    /// How many guests have a client.
    fn connected(&self) -> usize {
        self.guests.values().filter(|guest| guest.watch.status().client.is_some()).count()
    }

    /// Looks at all counters, for the rates.
    fn note_rates(&mut self, now: Instant) {
        for guest in self.guests.values_mut() {
            guest.rate.note(now, guest.meter.bytes());
        }
    }

    fn snapshot(&self) -> Snapshot {
        let now = Instant::now();
        Snapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            process: std::process::id(),
            uptime_seconds: now.duration_since(self.started).as_secs(),
            guests: self.guests.values().map(|guest| guest_status(guest, now)).collect(),
            classes: self.sources.all().flat_map(|(name, _)| self.classes_of(name)).collect(),
        }
    }

    /// A source and its groups, each behind its parent.
    fn classes_of(&self, source: &str) -> Vec<ClassStatus> {
        let Some(shared) = self.sources.get(source) else { return Vec::new() };
        let states = shared.classes();
        let groups = self.configuration.groups.iter();
        let groups = groups.map(|group| (group.name.as_str(), Some(group.parent.clone())));
        std::iter::once((source, None))
            .chain(groups)
            .filter_map(|(name, parent)| {
                let state = states.get(name)?;
                let bandwidth = state.bandwidth;
                let floor = if parent.is_none() { bandwidth.average } else { bandwidth.floor };
                Some(ClassStatus {
                    name: name.to_owned(),
                    parent,
                    class: state.id.0,
                    average: bandwidth.average,
                    peak: bandwidth.peak,
                    floor: floor.unwrap_or(0),
                    promised: state.promised,
                })
            })
            .collect()
    }
}

fn guest_status(guest: &Guest, now: Instant) -> GuestStatus {
    let configuration = &guest.configuration;
    let status = guest.watch.status();
    let bytes = guest.meter.bytes();
    let client = status.client.map(|client| ClientStatus {
        process: client.process.and_then(|id| u32::try_from(id).ok()),
        seconds: SystemTime::now().duration_since(client.since).unwrap_or_default().as_secs(),
    });
    GuestStatus {
        name: configuration.name.clone(),
        socket: configuration.socket.display().to_string(),
        transport: configuration.transport.to_string(),
        device: configuration.device.into(),
        source: configuration.source_name(),
        client,
        connections: status.admitted,
        refused: status.refused,
        bytes,
        requests: guest.meter.requests(),
        waiting: guest.meter.is_waiting().into(),
        bytes_per_second: guest.rate.per_second(now, bytes),
        class: guest.class.as_ref().and_then(|class| class.share.class()).map(|class| class.0),
    }
}

/// An error in one line, with what to do about it.
pub fn with_remedy(error: &anyhow::Error) -> String {
    match descriptors_remedy(error.as_ref()) {
        Some(remedy) => format!("{error:#}; {remedy}"),
        None => format!("{error:#}"),
    }
}

/// The path of a socket that somebody else has bound, or what it is called without one.
pub fn path_of(listener: &OwnedFd, otherwise: &str) -> PathBuf {
    let address = listener.try_clone().map(std::os::unix::net::UnixListener::from);
    let address = address.and_then(|listener| listener.local_addr());
    let path = address.ok().and_then(|address| address.as_pathname().map(Path::to_owned));
    path.unwrap_or_else(|| otherwise.into())
}
