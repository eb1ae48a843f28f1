//! Limits, sources and bandwidths that change under guests which stay connected.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result};
use entropy::bandwidth::Bandwidth;
use entropy::source::{Change, Joining, Share, Source};
use my_rng_server::config::{self, Configuration, GuestSource};

use super::{Daemon, Names};
use crate::daemon::sources::Family;

/// Sources that are open and have no guests yet: each by the name of the guest or of the shared
/// source that will read it.
#[derive(Default)]
struct Opened {
    of_guests: HashMap<String, Box<dyn Source>>,
    shared: HashMap<String, Box<dyn Source>>,
}

/// The guests that go on and get another source, or another class of a shared one.
struct Moving<'a> {
    guests: Vec<&'a config::Guest>,
    /// Those of them that are connected and join a shared source, by its name.
    joining: HashMap<&'a str, Vec<Joining<'a>>>,
}

impl Daemon {
    /// Changes what can be changed under the guests that go on, all of it or nothing.
    ///
    /// # Errors
    /// A source cannot be opened, or what guests are promised does not fit.
    pub(super) fn change_in_place(&mut self, new: &Configuration, going_on: &Names) -> Result<()> {
        let families = Family::all_of(new);
        let stay = self.classes_that_stay(new);
        let moving = self.moving(new, going_on, &stay);
        let opened = self.open_sources(&families, &moving)?;
        let modes = self.change_socket_modes(new, going_on)?;
        let started = self.start_sources(&families, &moving)?;
        if let Err(error) = self.change_sources(new, &families, &moving, going_on) {
            started.iter().for_each(|name| self.sources.stop(name));
            return Err(error);
        }
        modes.keep();
        self.apply(new, &moving, opened, going_on);
        Ok(())
    }

    /// The sources that are open, and the groups below them that are where they were.
    fn classes_that_stay(&self, new: &Configuration) -> Names {
        let open = new.sources.iter().filter(|source| self.sources.get(&source.name).is_some());
        let mut stay: Names = open.map(|source| source.name.clone()).collect();
        let groups = self.configuration.groups.iter().map(|group| (&group.name, &group.parent));
        let parents: HashMap<_, _> = groups.collect();
        for group in &new.groups {
            if parents.get(&group.name) == Some(&&group.parent) && stay.contains(&group.parent) {
                stay.insert(group.name.clone());
            }
        }
        stay
    }

    fn moving<'a>(&self, new: &'a Configuration, going_on: &Names, stay: &Names) -> Moving<'a> {
        let mut moving = Moving { guests: Vec::new(), joining: HashMap::new() };
        for after in new.guests.iter().filter(|guest| going_on.contains(&guest.name)) {
            let Some(guest) = self.guests.get(&after.name) else { continue };
            let same = match (&guest.configuration.source, &after.source) {
                (GuestSource::Own(before), GuestSource::Own(after)) => before == after,
                (
                    GuestSource::Shared { parent: before, .. },
                    GuestSource::Shared { parent: after, .. },
                ) => before == after && stay.contains(after),
                _ => false,
            };
            if same {
                continue;
            }
            moving.guests.push(after);
            let GuestSource::Shared { parent, bandwidth } = &after.source else { continue };
            if let Some(source) = new.source_of(parent).filter(|_| guest.admission.is_connected()) {
                let joining = Joining { parent, guest: &after.name, bandwidth: *bandwidth };
                moving.joining.entry(source).or_default().push(joining);
            }
        }
        moving
    }

    /// Opens the sources that take another one's place.
    fn open_sources(&self, families: &[Family<'_>], moving: &Moving<'_>) -> Result<Opened> {
        let mut opened = Opened::default();
        for family in families {
            let name = family.name();
            let before = self.configuration.sources.iter().find(|source| source.name == name);
            let (Some(before), Some(source)) = (before, self.sources.get(name)) else { continue };
            if before.source != *family.specification() {
                let source = source
                    .open(family.specification())
                    .with_context(|| format!("the shared source {name:?}"))?;
                opened.shared.insert(name.to_owned(), source);
            }
        }
        for after in &moving.guests {
            let control = self.guests.get(&after.name).and_then(|guest| guest.control.as_ref());
            let (GuestSource::Own(source), Some(control)) = (&after.source, control) else {
                continue;
            };
            let source = control.open(source).with_context(|| format!("guest {:?}", after.name))?;
            opened.of_guests.insert(after.name.clone(), source);
        }
        Ok(opened)
    }

    /// Starts the shared sources that are new and that guests move to; returns their names.
    fn start_sources(
        &mut self,
        families: &[Family<'_>],
        moving: &Moving<'_>,
    ) -> Result<Vec<String>> {
        let mut started: Vec<String> = Vec::new();
        for family in families {
            let wanted = moving.guests.iter().any(|guest| family.has_guest(&guest.name));
            if !wanted || self.sources.get(family.name()).is_some() {
                continue;
            }
            let joining = moving.joining.get(family.name()).map_or(&[][..], Vec::as_slice);
            let done =
                family.fits(joining).and_then(|()| self.sources.start(family, &self.class_ids));
            if let Err(error) = done {
                started.iter().for_each(|name| self.sources.stop(name));
                return Err(error);
            }
            started.push(family.name().to_owned());
        }
        Ok(started)
    }

    /// Gives the sources that were open before their new groups and numbers: all or none.
    fn change_sources(
        &self,
        new: &Configuration,
        families: &[Family<'_>],
        moving: &Moving<'_>,
        going_on: &Names,
    ) -> Result<()> {
        let moves: HashSet<&str> = moving.guests.iter().map(|guest| guest.name.as_str()).collect();
        let staying = |name: &str| going_on.contains(name) && !moves.contains(name);
        let bandwidths: HashMap<&str, Bandwidth> = new
            .guests
            .iter()
            .filter(|guest| staying(&guest.name))
            .filter_map(|guest| match &guest.source {
                GuestSource::Shared { bandwidth, .. } => Some((guest.name.as_str(), *bandwidth)),
                GuestSource::Own(_) => None,
            })
            .collect();
        let mut shares: HashMap<&str, Vec<(&Share, Option<Bandwidth>)>> = HashMap::new();
        for (name, guest) in &self.guests {
            let Some(class) = &guest.class else { continue };
            let share = (&*class.share, bandwidths.get(name.as_str()).copied());
            shares.entry(&class.source).or_default().push(share);
        }
        let before: HashSet<&str> =
            self.configuration.sources.iter().map(|source| source.name.as_str()).collect();
        let mut changes = Vec::new();
        for family in families {
            let name = family.name();
            if !before.contains(name) || self.sources.get(name).is_none() {
                continue;
            }
            let joining = moving.joining.get(name).map_or(&[][..], Vec::as_slice);
            let shares = shares.remove(name).unwrap_or_default();
            changes.push(self.sources.prepare(family, shares, joining)?);
        }
        changes.into_iter().for_each(Change::apply);
        Ok(())
    }

    /// The part that cannot fail.
    fn apply(
        &mut self,
        new: &Configuration,
        moving: &Moving<'_>,
        mut opened: Opened,
        going_on: &Names,
    ) {
        for (name, source) in opened.shared {
            if let Some(shared) = self.sources.get(&name) {
                drop(shared.set_source(source));
            }
        }
        for after in &moving.guests {
            if let Err(error) = self.move_guest(new, after, opened.of_guests.remove(&after.name)) {
                log::error!("guest {:?}: {error:#}; it gets no bytes", after.name);
            }
        }
        for after in new.guests.iter().filter(|guest| going_on.contains(&guest.name)) {
            let Some(guest) = self.guests.get(&after.name) else { continue };
            let Some(control) = &guest.control else { continue };
            if guest.configuration.limit() != after.limit() {
                control.set_limit(after.limit());
            }
        }
    }

    /// Gives a guest its other source, or its class of another one.
    fn move_guest(
        &mut self,
        new: &Configuration,
        after: &config::Guest,
        own: Option<Box<dyn Source>>,
    ) -> Result<()> {
        let class = self.class_for(new, after)?;
        let Some(guest) = self.guests.get_mut(&after.name) else { return Ok(()) };
        let Some(control) = &guest.control else { return Ok(()) };
        // Opened before the guest joins: its class wakes the device then.
        let source = match (own, &class) {
            (None, Some(class)) => Some(control.open(&class.share)?),
            (own, _) => own,
        };
        guest.class.clone_from(&class);
        let moved = guest.admission.move_to(class);
        if let Some(source) = source {
            drop(control.set_source(source));
        }
        Ok(moved?)
    }
}
