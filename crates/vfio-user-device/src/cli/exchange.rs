//! A program that takes the place of another process, and hands its servers over to the next one.

use std::os::fd::{AsFd, OwnedFd};

use sd_notify::NotifyState;

use super::ready_notifier::{ReadyNotifier, notify_systemd};
use super::restart::Restart;
use super::signals::EndSignals;
use super::{Arguments, Program, ProgramError, warn_of_end};
use crate::causes::with_causes;
use crate::exchange::{Exchange, ExchangeError, Inherited, ProgramState, store};
use crate::keeper;
use crate::server::ServerSet;

impl Program {
    /// A program whose sockets come from the process before it, and not from options: what those
    /// name was that one's.
    pub(super) fn in_place_of_another(
        arguments: &Arguments,
        predecessor: Inherited,
        restart: Restart,
    ) -> Result<Self, ProgramError> {
        let signals = EndSignals::new().map_err(ProgramError::Signals)?;
        Ok(Program {
            arguments: arguments.clone(),
            readiness: ReadyNotifier::default(),
            signals,
            inherited: None,
            passed: Vec::new(),
            predecessor: Some(predecessor),
            restart,
            recording: arguments.record.append()?,
        })
    }

    /// What the process before this one hands over, if this one takes its place: a program with
    /// several servers takes them from here.
    pub fn predecessor(&mut self) -> Option<&mut Inherited> {
        self.predecessor.as_mut()
    }

    /// The same for a program that hands over more than its servers in an exchange: `state`, which
    /// the other process finds in [`Program::predecessor`].
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_with_state(
        self,
        servers: &ServerSet,
        connected: impl FnOnce() -> usize,
        state: impl Fn() -> Result<ProgramState, ExchangeError> + Clone + Send + 'static,
    ) -> Result<(), ProgramError> {
        let restart = self.restart;
        let save = state.clone();
        servers.on_exchange(move |binary| Exchange {
            command: restart.command(binary),
            save: Box::new(save.clone()),
        });
        let trigger = servers.exchange_trigger().map_err(ProgramError::Signals)?;
        self.signals.hear_exchange(trigger).map_err(ProgramError::Signals)?;
        keep(state.clone());
        if let Some(predecessor) = self.predecessor {
            predecessor.ready()?;
        }
        if let Some(directory) = keeper::directory() {
            directory.set_ready(true);
        }
        self.readiness.notify()?;
        let served = servers.run_and_then(self.signals.as_fd(), || {
            keeper::set_finished(true);
            let connected = connected();
            if !is_stored(servers, connected, state) {
                warn_of_end(connected);
            }
        });
        if let Some(recording) = &self.recording {
            recording.finish();
        }
        served?;
        if let Some(process) = servers.successor() {
            notify_systemd(NotifyState::MainPid(process));
            return Ok(());
        }
        log::info!("stopped");
        if self.signals.hung_up() {
            return Err(ProgramError::HungUp);
        }
        Ok(())
    }
}

/// What the last process of the service has left with systemd, which need not keep it any more.
pub(super) fn take_from_store(stored: OwnedFd) -> Option<Inherited> {
    let inherited = Inherited::of_store(stored);
    let remove = format!("FDSTOREREMOVE=1\nFDNAME={}", store::NAME);
    notify_systemd(NotifyState::Custom(&remove));
    let lost = |error: &ExchangeError| {
        log::error!("the clients of the last process are lost: {}", with_causes(error));
    };
    inherited.inspect_err(lost).ok()
}

/// Lets systemd keep the servers until the service is started again, if it does so. Returns whether it does.
fn is_stored(
    servers: &ServerSet,
    connected: usize,
    state: impl Fn() -> Result<ProgramState, ExchangeError>,
) -> bool {
    if connected == 0 || !store::is_offered() {
        return false;
    }
    match state().and_then(|state| servers.put_into_store(&state)) {
        Ok(()) => {
            log::warn!("{connected} clients wait for the next start of the service");
            true
        }
        Err(error) => {
            log::error!("the next start of the service cannot go on: {}", with_causes(&error));
            false
        }
    }
}

/// Keeps what the program has beside its servers, if the process is kept.
fn keep(state: impl Fn() -> Result<ProgramState, ExchangeError>) {
    if keeper::directory().is_none() {
        return;
    }
    match state() {
        Ok(state) => keeper::keep_program(state),
        Err(error) => log::warn!("what is around the servers is lost with a crash: {error}"),
    }
}
