//! The shared sources: which there are, and which class is of which.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use my_rng_server::bandwidth::Bandwidth;
use my_rng_server::config::{Configuration, Group, Guest, GuestSource};
use my_rng_server::source::{GroupOf, Share, SharedSource};

use super::kept::Kept;

/// The shared sources that are open, by their names.
#[derive(Default)]
pub struct Sources(BTreeMap<String, SharedSource>);

/// What a configuration has for one source.
pub struct Family<'a> {
    source: &'a my_rng_server::config::SharedSource,
    /// The groups below it, each behind its parent.
    groups: Vec<&'a Group>,
    /// The guests below it.
    guests: Vec<&'a str>,
}

impl<'a> Family<'a> {
    /// The source of that name and all below it.
    pub fn of(configuration: &'a Configuration, source: &str) -> Option<Self> {
        let source = configuration.sources.iter().find(|candidate| candidate.name == source)?;
        let is_of = |class: &str| configuration.source_of(class) == Some(source.name.as_str());
        let is_guest = |guest: &&Guest| match &guest.source {
            GuestSource::Shared { parent, .. } => is_of(parent),
            GuestSource::Own(_) => false,
        };
        let groups = configuration.groups.iter().filter(|group| is_of(&group.name)).collect();
        let guests = configuration.guests.iter().filter(is_guest);
        Some(Family { source, groups, guests: guests.map(|guest| guest.name.as_str()).collect() })
    }

    /// The source and its groups, with what they have.
    pub fn bandwidths(&self) -> Vec<(&'a str, Bandwidth)> {
        let root = (self.source.name.as_str(), self.source.bandwidth);
        let groups = self.groups.iter().map(|group| (group.name.as_str(), group.bandwidth));
        std::iter::once(root).chain(groups).collect()
    }

    /// Whether the other one differs in nothing but numbers, and guests.
    pub fn has_shape_of(&self, other: &Family<'_>) -> bool {
        let shape = |family: &Family<'_>| -> Vec<(String, String)> {
            let groups = family.groups.iter();
            groups.map(|group| (group.name.clone(), group.parent.clone())).collect()
        };
        self.source.source == other.source.source && shape(self) == shape(other)
    }
}

impl Sources {
    /// Opens a source.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn start(&mut self, family: &Family<'_>, kept: &Kept) -> Result<()> {
        let name = &family.source.name;
        let groups: Vec<GroupOf<'_>> = family
            .groups
            .iter()
            .map(|group| GroupOf {
                name: &group.name,
                parent: &group.parent,
                bandwidth: group.bandwidth,
            })
            .collect();
        let taken = kept.of_source(name, &family.guests);
        let source = SharedSource::start(
            name,
            &family.source.source,
            family.source.bandwidth,
            &groups,
            &taken,
        )
        .with_context(|| format!("the shared source {name:?}"))?;
        self.0.insert(name.clone(), source);
        Ok(())
    }

    /// Closes a source, which no guest has a share of any more.
    pub fn stop(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// The source of that name.
    pub fn get(&self, name: &str) -> Option<&SharedSource> {
        self.0.get(name)
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, &SharedSource)> {
        self.0.iter().map(|(name, source)| (name.as_str(), source))
    }

    /// Gives classes and connected guests of a source other bandwidths, all or none.
    ///
    /// # Errors
    /// Something does not fit.
    pub fn change(
        &self,
        name: &str,
        classes: &[(&str, Bandwidth)],
        shares: &[(&Share, Bandwidth)],
    ) -> Result<()> {
        let source = self.get(name).with_context(|| format!("no shared source {name:?}"))?;
        Ok(source.change(classes, shares)?)
    }
}
