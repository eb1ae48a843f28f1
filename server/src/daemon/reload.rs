//! A configuration that takes another one's place while the daemon runs.
//!
//! Guests that are the same in both keep their connections; so do those of which only the bandwidth
//! has changed, and those of a shared source of which only numbers have. Numbers are changed first:
//! if what connected guests are promised does not fit into the new ones, nothing is changed at all.

use anyhow::{Context, Result};
use my_rng_server::bandwidth::Bandwidth;
use my_rng_server::config::{self, Configuration, GuestSource};
use my_rng_server::source::Share;

use super::Daemon;
use super::guest::Guest;
use super::sources::Family;

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
        let old = self.configuration.clone();
        if old.control_socket != new.control_socket || old.status_file != new.status_file {
            log::warn!("control-socket and status-file are read when the daemon starts");
        }
        let stay: Vec<String> = sources_that_stay(&old, &new);
        self.change_bandwidths(&old, &new, &stay)?;
        let keep = |guest: &config::Guest| {
            let before = old.guests.iter().find(|before| before.name == guest.name);
            before.is_some_and(|before| is_kept(&old, before, &new, guest, &stay))
        };
        let kept: Vec<String> = new.guests.iter().filter(|guest| keep(guest)).map(name).collect();
        let summary = self.replace_guests(&new, &kept, &stay);
        self.configuration = new;
        Ok(summary)
    }

    /// Gives the sources that stay their new numbers: all or none.
    fn change_bandwidths(
        &self,
        old: &Configuration,
        new: &Configuration,
        stay: &[String],
    ) -> Result<()> {
        for (index, source) in stay.iter().enumerate() {
            if let Err(error) = self.set_bandwidths(source, new) {
                for undone in stay.iter().take(index) {
                    if let Err(error) = self.set_bandwidths(undone, old) {
                        log::error!("the shared source {undone:?}: {error:#}");
                    }
                }
                return Err(error).with_context(|| format!("the shared source {source:?}"));
            }
        }
        Ok(())
    }

    fn set_bandwidths(&self, source: &str, to: &Configuration) -> Result<()> {
        let Some(family) = Family::of(to, source) else { return Ok(()) };
        let shares: Vec<(&Share, Bandwidth)> = to
            .guests
            .iter()
            .filter_map(|guest| {
                let GuestSource::Shared { parent, bandwidth } = &guest.source else { return None };
                let running = self.guests.get(&guest.name)?;
                let GuestSource::Shared { parent: before, .. } = &running.configuration.source
                else {
                    return None;
                };
                let gate = running.gate.as_ref().filter(|_| parent == before)?;
                (to.source_of(parent) == Some(source)).then_some((&*gate.share, *bandwidth))
            })
            .collect();
        self.sources.change(source, &family.bandwidths(), &shares)
    }

    fn replace_guests(&mut self, new: &Configuration, kept: &[String], stay: &[String]) -> Summary {
        let gone: Vec<String> =
            self.guests.keys().filter(|name| !kept.contains(name)).cloned().collect();
        let stopped: Vec<Guest> = gone.iter().filter_map(|name| self.guests.remove(name)).collect();
        let mut summary =
            Summary { kept: kept.len(), stopped: stopped.len(), ..Summary::default() };
        Guest::stop_all(stopped, &self.servers);
        self.replace_sources(new, stay);
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

    fn replace_sources(&mut self, new: &Configuration, stay: &[String]) {
        let gone: Vec<String> = self
            .sources
            .all()
            .map(|(name, _)| name.to_owned())
            .filter(|name| !stay.contains(name))
            .collect();
        for name in gone {
            self.sources.stop(&name);
        }
        for source in new.sources.iter().filter(|source| !stay.contains(&source.name)) {
            let Some(family) = Family::of(new, &source.name) else { continue };
            if let Err(error) = self.sources.start(&family, &self.kept) {
                log::error!("{error:#}");
            }
        }
    }
}

fn name(guest: &config::Guest) -> String {
    guest.name.clone()
}

/// The shared sources of which nothing but numbers has changed.
fn sources_that_stay(old: &Configuration, new: &Configuration) -> Vec<String> {
    let names = new.sources.iter().map(|source| &source.name);
    names
        .filter(|name| {
            let (before, after) = (Family::of(old, name), Family::of(new, name));
            before.zip(after).is_some_and(|(before, after)| before.has_shape_of(&after))
        })
        .cloned()
        .collect()
}

/// Whether a guest goes on as it is.
fn is_kept(
    old: &Configuration,
    before: &config::Guest,
    new: &Configuration,
    after: &config::Guest,
    stay: &[String],
) -> bool {
    let same_but_for_the_source =
        config::Guest { source: before.source.clone(), ..after.clone() } == *before;
    let same_source = match (&before.source, &after.source) {
        (GuestSource::Own(before), GuestSource::Own(after)) => before == after,
        (GuestSource::Shared { parent: before, .. }, GuestSource::Shared { parent: after, .. }) => {
            let root = new.source_of(after);
            before == after
                && old.source_of(before) == root
                && root.is_some_and(|root| stay.iter().any(|name| name == root))
        }
        _ => false,
    };
    same_but_for_the_source && same_source
}
