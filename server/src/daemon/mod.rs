//! The daemon: serves the guests of its configuration.
//!
//! The [kit](vfio_user_device) serves the sockets. This module adds the shared sources, the class ids
//! that outlast a restart, a configuration that is read again on SIGHUP, and a control socket for
//! `my-rng-server status`.

mod class_admission;
mod class_id_store;
mod control;
mod guest;
mod guest_admission;
mod handover;
mod overseer;
mod rates;
mod reload;
mod sandbox;
pub mod snapshot;
mod sources;
mod state_file;
mod status_file;
mod whole_file;

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use entropy::service::EntropyControl;
use my_rng_server::config::{self, Configuration, GuestSource};
use vfio_user_device::cli::Program;
use vfio_user_device::exchange::Inherited;
use vfio_user_device::recording::Recording;
use vfio_user_device::sandbox::{SandboxMode, remedy as sandbox_remedy};
use vfio_user_device::server::{ServerSet, descriptors_remedy};

use class_admission::ClassAdmission;
use class_id_store::ClassIdStore;
use guest::{Guest, Needs};
use guest_admission::GuestAdmission;
use handover::DaemonState;
use snapshot::{ClassStatus, ClientStatus, GuestStatus, Snapshot};
use sources::{Family, Sources};
use state_file::StateFile;
use status_file::StatusFile;

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
    /// Where sessions are recorded.
    pub recording: Option<Recording>,
}

/// Everything that it serves.
struct Daemon {
    configuration: Configuration,
    listeners: BTreeMap<PathBuf, OwnedFd>,
    busy_poll: Duration,
    recording: Option<Recording>,
    servers: ServerSet,
    sources: Sources,
    guests: BTreeMap<String, Guest>,
    class_ids: Arc<ClassIdStore>,
    /// See [`GuestAdmission`].
    admissions: Arc<RwLock<()>>,
    started: Instant,
    state_file: StateFile,
}

/// Serves until SIGINT or SIGTERM.
///
/// # Errors
/// A guest, a shared source or the control socket cannot be had.
pub fn run(mut program: Program, start: Start) -> Result<()> {
    let paths = sandbox::paths(&start.configuration, start.file.as_deref());
    program.enter_sandbox(SandboxMode::On, paths, start.configuration.guests.len())?;
    let ending = Arc::new(AtomicBool::new(false));
    let signals = overseer::Signals::new(&ending, start.file.is_some())?;
    if start.file.is_none() {
        program.end_on_hang_up()?;
    }
    let control = start.configuration.control_socket.as_deref();
    let inherited = program.predecessor().and_then(handover::control_socket);
    let control = match (control, inherited) {
        (Some(path), Some(socket)) if socket.name() == path.display().to_string() => {
            Some(control::Control::on(socket))
        }
        (control, _) => control.map(control::Control::bind).transpose()?,
    };
    let control = control.map(Arc::new);
    let file = start.file.clone();
    let servers = ServerSet::new()?;
    let daemon = Daemon::start(start, servers.clone(), ending, program.predecessor())
        .inspect_err(|error| tell_predecessor(&mut program, error))?;
    let daemon = Arc::new(Mutex::new(daemon));
    let overseer = overseer::start(signals, control.clone(), file, Arc::clone(&daemon))?;
    let state = {
        let (daemon, control) = (Arc::clone(&daemon), control.clone());
        move || daemon.lock().unwrap_or_else(PoisonError::into_inner).save(control.as_deref())
    };
    let connected = || {
        let daemon = daemon.lock().unwrap_or_else(PoisonError::into_inner);
        daemon.store_states();
        daemon.connected()
    };
    let served = program.run_with_state(&servers, connected, state);
    if servers.are_handed_over() {
        control.iter().for_each(|control| control.socket().leave_file());
    }
    overseer.stop();
    daemon.lock().unwrap_or_else(PoisonError::into_inner).close();
    Ok(served?)
}

/// Tells the process whose place this one takes why it has to go on.
fn tell_predecessor(program: &mut Program, error: &anyhow::Error) {
    if let Some(predecessor) = program.predecessor() {
        predecessor.fail(error.as_ref());
    }
}

impl Daemon {
    fn start(
        start: Start,
        servers: ServerSet,
        ending: Arc<AtomicBool>,
        mut predecessor: Option<&mut Inherited>,
    ) -> Result<Self> {
        let file = StatusFile::new(start.configuration.status_file.clone());
        let states = start.configuration.state_file.clone();
        let state_file = match &predecessor {
            Some(_) => StateFile::unread(states),
            None => StateFile::load(states)?,
        };
        let state = predecessor.as_deref().map(DaemonState::of).transpose()?;
        // A process that has crashed has said which there were when it began; the file knows better.
        let crashed = predecessor.as_ref().is_some_and(|other| other.is_after_crash());
        let state_of_exchange = state.as_ref().filter(|_| !crashed);
        let class_ids = state_of_exchange.map(|state| state.class_ids.clone());
        let mut daemon = Daemon {
            configuration: Configuration::default(),
            listeners: start.listeners,
            busy_poll: start.busy_poll,
            recording: start.recording,
            servers,
            sources: Sources::default(),
            guests: BTreeMap::new(),
            class_ids: Arc::new(ClassIdStore::load(file, class_ids, ending)?),
            admissions: Arc::default(),
            started: Instant::now(),
            state_file,
        };
        let configuration = start.configuration;
        for family in Family::all_of(&configuration) {
            daemon.sources.start(&family, &daemon.class_ids)?;
        }
        for guest in &configuration.guests {
            daemon.start_guest(&configuration, guest, predecessor.as_deref_mut())?;
        }
        daemon.state_file.consume()?;
        state.iter().for_each(|state| daemon.count_on(state));
        daemon.configuration = configuration;
        // An error in the log is better now than when the file is needed.
        daemon.class_ids.store();
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

    fn start_guest(
        &mut self,
        configuration: &Configuration,
        guest: &config::Guest,
        predecessor: Option<&mut Inherited>,
    ) -> Result<()> {
        let listener = self.listeners.get(&guest.socket).map(OwnedFd::try_clone).transpose()?;
        let class = self.class_for(configuration, guest)?;
        let admission = Arc::new(GuestAdmission::new(Arc::clone(&self.admissions), class.clone()));
        let needs = Needs {
            servers: &self.servers,
            predecessor,
            listener,
            class,
            admission,
            busy_poll: self.busy_poll,
            recording: self.recording.as_ref(),
            states: &mut self.state_file,
        };
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
    ) -> Result<Option<Arc<ClassAdmission>>> {
        let GuestSource::Shared { parent, bandwidth } = &guest.source else { return Ok(None) };
        let name = configuration.source_of(parent).context("its class has no source")?;
        let source = self.sources.get(name).context("its source is not open")?;
        Ok(Some(Arc::new(ClassAdmission {
            share: source.share(parent, &guest.name, *bandwidth),
            source: name.to_owned(),
            guest: guest.name.clone(),
            ids: Arc::clone(&self.class_ids),
        })))
    }

    /// Writes the states of all devices to the state file, if there is one. Their sessions rest from then
    /// on.
    fn store_states(&self) {
        if !self.state_file.is_used() {
            return;
        }
        let mut saved = self.servers.save_devices();
        let states = self.guests.iter().filter_map(|(name, guest)| {
            let device = guest.configuration.device.device();
            match saved.remove(&guest.key()?)? {
                Ok(state) => Some((name.clone(), device, state)),
                Err(error) => {
                    log::error!("guest {name:?} will start anew, its state is lost: {error}");
                    None
                }
            }
        });
        if let Err(error) = self.state_file.store(states) {
            log::error!("all guests will start anew: {error:#}");
        }
    }

    /// How many guests have a client.
    fn connected(&self) -> usize {
        self.guests.values().filter(|guest| guest.state.stats().client.is_some()).count()
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
            sandbox: vfio_user_device::sandbox::status(),
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
                let health = if parent.is_none() { shared.health() } else { None };
                Some(ClassStatus {
                    health,
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
    let status = guest.state.stats();
    let bytes = guest.meter.bytes();
    let client = status.client.map(|client| ClientStatus {
        process: client.process.and_then(|id| u32::try_from(id).ok()),
        seconds: SystemTime::now().duration_since(client.since).unwrap_or_default().as_secs(),
    });
    GuestStatus {
        name: configuration.name.clone(),
        socket: configuration.socket.display().to_string(),
        transport: configuration.transport.to_string(),
        device: configuration.device.device().into(),
        source: configuration.source_name(),
        client,
        connections: status.admitted,
        refused: status.rejected,
        bytes,
        requests: guest.meter.requests(),
        waiting: guest.meter.is_waiting().into(),
        bytes_per_second: guest.rate.per_second(now, bytes),
        health: guest.control.as_ref().and_then(EntropyControl::health),
        class: guest.class.as_ref().and_then(|class| class.share.class()).map(|class| class.0),
    }
}

/// An error in one line, with what to do about it.
pub fn with_remedy(error: &anyhow::Error) -> String {
    match descriptors_remedy(error.as_ref()).or_else(|| sandbox_remedy(error.as_ref())) {
        Some(remedy) => format!("{error:#}; {remedy}"),
        None => format!("{error:#}"),
    }
}
