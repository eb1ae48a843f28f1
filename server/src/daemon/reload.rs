//! A configuration that takes another one's place while the daemon runs.
//!
//! Guests go on as long as nothing changes but their limit, source, bandwidth or socket-mode: all that is changed
//! under them. What can fail is done first, while no client is admitted, so that a reload changes
//! everything or nothing: sources are opened, and what connected guests are promised is tried on a
//! tree of its own. A change that has to disconnect a guest which is connected, or its removal, is
//! rejected, unless the guest's entry says `disconnect = true`.

mod in_place;
mod socket_modes;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use anyhow::{Result, ensure};
use my_rng_server::config::{self, Configuration};

use super::guest::Guest;
use super::guest_admission::GuestAdmission;
use super::sources::Family;
use super::{Daemon, with_remedy};

type Names = HashSet<String>;

/// What a reload did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Guests that go on.
    pub kept: usize,
    /// Guests that are new, or replace others.
    pub started: usize,
    /// Guests that are removed, or replaced.
    pub stopped: usize,
    /// Guests that could not be started; the log says why.
    pub failed: usize,
}

/// Guests that admit no client until this value goes.
struct PausedAdmissions(Vec<Arc<GuestAdmission>>);

impl Drop for PausedAdmissions {
    fn drop(&mut self) {
        self.0.iter().for_each(|guest| guest.resume());
    }
}

impl Daemon {
    /// Does from now on what this configuration says.
    ///
    /// # Errors
    /// Something in it is impossible while guests are connected; nothing has changed then.
    pub fn reload(&mut self, new: Configuration) -> Result<Summary> {
        let old = &self.configuration;
        let files = |of: &Configuration| (of.status_file.clone(), of.state_file.clone());
        if old.control_socket != new.control_socket || files(old) != files(&new) {
            log::warn!(
                "control-socket, status-file and state-file are read when the daemon starts"
            );
        }
        let going_on: Names = new
            .guests
            .iter()
            .filter(|guest| self.goes_on(guest))
            .map(|guest| guest.name.clone())
            .collect();
        vfio_user_device::sandbox::bound_memory(new.guests.len());
        let admissions = Arc::clone(&self.admissions);
        let admissions = admissions.write().unwrap_or_else(PoisonError::into_inner);
        let closed = self.pause_admissions(&new, &going_on)?;
        self.change_in_place(&new, &going_on)?;
        drop(admissions);
        let summary = self.replace_guests(&new, &going_on);
        drop(closed);
        // A socket that was passed for a guest which is gone would keep its clients waiting.
        let sockets: HashSet<_> = new.guests.iter().map(|guest| &guest.socket).collect();
        self.listeners.retain(|path, _| sockets.contains(path));
        self.configuration = new;
        Ok(summary)
    }

    /// Whether a guest goes on: nothing changes that needs a new device.
    fn goes_on(&self, after: &config::Guest) -> bool {
        // One that could not be started is tried again.
        let running = self.guests.get(&after.name);
        running.is_some_and(|guest| guest.configuration.fixed_keys_that_differ(after).is_empty())
    }

    /// Lets no client of those guests in that do not go on.
    ///
    /// # Errors
    /// One of them is connected, and may not be disconnected.
    fn pause_admissions(&self, new: &Configuration, going_on: &Names) -> Result<PausedAdmissions> {
        let stopping = self.guests.iter().filter(|(name, _)| !going_on.contains(*name));
        let admissions = stopping.map(|(_, guest)| Arc::clone(&guest.admission));
        let closed = PausedAdmissions(admissions.inspect(|guest| guest.pause()).collect());
        let after: HashMap<_, _> = new.guests.iter().map(|guest| (&guest.name, guest)).collect();
        let mut rejected = Vec::new();
        for (name, guest) in self.guests.iter().filter(|(_, guest)| guest.admission.is_connected())
        {
            let (keys, may_disconnect) = match after.get(name) {
                Some(after) => {
                    (guest.configuration.fixed_keys_that_differ(after), after.disconnect)
                }
                None => (vec!["removed".to_owned()], guest.configuration.disconnect),
            };
            if !keys.is_empty() && !may_disconnect {
                rejected.push(format!("guest {name:?} ({})", keys.join(", ")));
            }
        }
        ensure!(
            rejected.is_empty(),
            "{}: connected, and this cannot change without disconnecting it; detach the device from \
             its virtual machine first, or set disconnect = true in the [[guest]] (for one to be \
             removed, with a reload before that)",
            rejected.join(", ")
        );
        Ok(closed)
    }

    /// Stops the guests that do not go on, and starts those that are not there.
    fn replace_guests(&mut self, new: &Configuration, going_on: &Names) -> Summary {
        let gone = self.guests.keys().filter(|name| !going_on.contains(*name));
        let gone: Vec<String> = gone.cloned().collect();
        let stopped: Vec<Guest> = gone.iter().filter_map(|name| self.guests.remove(name)).collect();
        for guest in stopped.iter().filter(|guest| guest.admission.is_connected()) {
            log::warn!("{}: its client is disconnected", guest.configuration.name);
        }
        let mut summary =
            Summary { kept: going_on.len(), stopped: stopped.len(), ..Summary::default() };
        Guest::stop_all(stopped, &self.servers);
        self.replace_sources(new);
        for guest in &new.guests {
            if let Some(running) = self.guests.get_mut(&guest.name) {
                running.configuration = guest.clone();
                continue;
            }
            match self.start_guest(new, guest, None) {
                Ok(()) => summary.started += 1,
                Err(error) => {
                    log::error!("{}", with_remedy(&error));
                    summary.failed += 1;
                }
            }
        }
        summary
    }

    fn replace_sources(&mut self, new: &Configuration) {
        let families = Family::all_of(new);
        let names: HashSet<&str> = families.iter().map(Family::name).collect();
        let all = self.sources.all().map(|(name, _)| name.to_owned());
        let gone: Vec<String> = all.filter(|name| !names.contains(name.as_str())).collect();
        gone.iter().for_each(|name| self.sources.stop(name));
        for family in &families {
            // One that could not be opened is tried again.
            if self.sources.get(family.name()).is_some() {
                continue;
            }
            if let Err(error) = self.sources.start(family, &self.class_ids) {
                log::error!("{}", with_remedy(&error));
            }
        }
    }
}
