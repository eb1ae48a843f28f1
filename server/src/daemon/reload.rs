//! A configuration that takes another one's place while the daemon runs.
//!
//! Guests that are the same in both keep their connections, whatever comes and goes beside them; so
//! do those of which only the bandwidth has changed, or that of a source or group above them. Sources
//! that stay are changed first: if what connected guests are promised does not fit into the new
//! numbers, nothing is changed at all.

use std::collections::{HashMap, HashSet};

use anyhow::Result;
use my_rng_server::bandwidth::Bandwidth;
use my_rng_server::config::{self, Configuration, GuestSource};
use my_rng_server::source::{Change, Share};
use vfio_user_kit::program::make_room_for;

use super::Daemon;
use super::guest::Guest;
use super::sources::Family;

type Names = HashSet<String>;

/// What goes on as it is, but for numbers.
struct Stay<'a> {
    /// Shared sources and groups.
    classes: &'a Names,
    guests: &'a Names,
}

/// What a reload did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Guests that go on.
    pub kept: usize,
    /// Guests that there were not before, or not like this.
    pub started: usize,
    /// Guests that there are no more, or not like this.
    pub stopped: usize,
    /// Guests that could not be started; the log says why.
    pub failed: usize,
}

impl Daemon {
    /// Does from now on what this configuration says.
    ///
    /// # Errors
    /// Something in it is impossible while guests are connected; nothing has changed then.
    pub fn reload(&mut self, new: Configuration) -> Result<Summary> {
        let old = &self.configuration;
        if old.control_socket != new.control_socket || old.status_file != new.status_file {
            log::warn!("control-socket and status-file are read when the daemon starts");
        }
        make_room_for(new.guests.len())?;
        let classes = self.classes_that_stay(&new);
        let guests = new.guests.iter().filter(|guest| self.goes_on(guest, &classes));
        let guests = guests.map(|guest| guest.name.clone()).collect();
        self.change_sources(&new, &Stay { classes: &classes, guests: &guests })?;
        let summary = self.replace_guests(&new, &Stay { classes: &classes, guests: &guests });
        self.configuration = new;
        Ok(summary)
    }

    /// The sources that are open and the same, and the groups below them that are where they were.
    fn classes_that_stay(&self, new: &Configuration) -> Names {
        let old = &self.configuration;
        let mut stay = Names::new();
        for source in &new.sources {
            let before = old.sources.iter().find(|before| before.name == source.name);
            let same = before.is_some_and(|before| before.source == source.source);
            // One that could not be opened is tried again.
            if same && self.sources.get(&source.name).is_some() {
                stay.insert(source.name.clone());
            }
        }
        let groups = old.groups.iter().map(|group| (&group.name, &group.parent));
        let parents: HashMap<_, _> = groups.collect();
        for group in &new.groups {
            if parents.get(&group.name) == Some(&&group.parent) && stay.contains(&group.parent) {
                stay.insert(group.name.clone());
            }
        }
        stay
    }

    /// Whether a guest goes on as it is.
    fn goes_on(&self, after: &config::Guest, classes: &Names) -> bool {
        // One that could not be started is tried again.
        let Some(Guest { configuration: before, .. }) = self.guests.get(&after.name) else {
            return false;
        };
        let same_but_for_the_source =
            config::Guest { source: before.source.clone(), ..after.clone() } == *before;
        let same_source = match (&before.source, &after.source) {
            (GuestSource::Own(before), GuestSource::Own(after)) => before == after,
            (
                GuestSource::Shared { parent: before, .. },
                GuestSource::Shared { parent: after, .. },
            ) => before == after && classes.contains(after),
            _ => false,
        };
        same_but_for_the_source && same_source
    }

    /// Gives the sources that stay their new groups and numbers: all or none.
    fn change_sources(&self, new: &Configuration, stay: &Stay<'_>) -> Result<()> {
        let bandwidths = new.guests.iter().filter(|guest| stay.guests.contains(&guest.name));
        let bandwidths: HashMap<_, _> = bandwidths
            .filter_map(|guest| match &guest.source {
                GuestSource::Shared { bandwidth, .. } => Some((&guest.name, *bandwidth)),
                GuestSource::Own(_) => None,
            })
            .collect();
        let mut shares: HashMap<&str, Vec<(&Share, Option<Bandwidth>)>> = HashMap::new();
        for (name, guest) in &self.guests {
            let Some(gate) = &guest.gate else { continue };
            let share = (&*gate.share, bandwidths.get(name).copied());
            shares.entry(&gate.source).or_default().push(share);
        }
        let families = Family::all_of(new);
        let mut changes = Vec::new();
        for family in families.iter().filter(|family| stay.classes.contains(family.name())) {
            let shares = shares.remove(family.name()).unwrap_or_default();
            changes.push(self.sources.prepare(family, shares)?);
        }
        changes.into_iter().for_each(Change::apply);
        Ok(())
    }

    fn replace_guests(&mut self, new: &Configuration, stay: &Stay<'_>) -> Summary {
        let gone = self.guests.keys().filter(|name| !stay.guests.contains(*name));
        let gone: Vec<String> = gone.cloned().collect();
        let stopped: Vec<Guest> = gone.iter().filter_map(|name| self.guests.remove(name)).collect();
        let mut summary =
            Summary { kept: stay.guests.len(), stopped: stopped.len(), ..Summary::default() };
        Guest::stop_all(stopped, &self.servers);
        self.replace_sources(new, stay.classes);
        for guest in &new.guests {
            if let Some(running) = self.guests.get_mut(&guest.name) {
                running.configuration = guest.clone();
                continue;
            }
            match self.start_guest(new, guest) {
                Ok(()) => summary.started += 1,
                Err(error) => {
                    log::error!("{error:#}");
                    summary.failed += 1;
                }
            }
        }
        summary
    }

    fn replace_sources(&mut self, new: &Configuration, stay: &Names) {
        let all = self.sources.all().map(|(name, _)| name.to_owned());
        let gone: Vec<String> = all.filter(|name| !stay.contains(name)).collect();
        for name in gone {
            self.sources.stop(&name);
        }
        for family in Family::all_of(new) {
            if stay.contains(family.name()) {
                continue;
            }
            if let Err(error) = self.sources.start(&family, &self.kept) {
                log::error!("{error:#}");
            }
        }
    }
}
