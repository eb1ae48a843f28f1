//! The shared sources: which there are, and which class is of which.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::{Context, Result};
use entropy::bandwidth::Bandwidth;
use entropy::source::{Change, GroupOf, Joining, Share, SharedSource, Specification};
use my_rng_server::config::{Configuration, GuestSource};

use super::class_id_store::ClassIdStore;

/// The shared sources that are open, by their names.
#[derive(Default)]
pub struct Sources(BTreeMap<String, SharedSource>);

/// What a configuration has for one source.
pub struct Family<'a> {
    source: &'a my_rng_server::config::SharedSource,
    /// The groups below it, each behind its parent.
    groups: Vec<GroupOf<'a>>,
    /// The guests below it.
    guests: BTreeSet<&'a str>,
}

impl<'a> Family<'a> {
    /// The sources, each with all below it.
    pub fn all_of(configuration: &'a Configuration) -> Vec<Self> {
        let sources = configuration.sources.iter();
        let mut families: Vec<_> = sources
            .map(|source| Family { source, groups: Vec::new(), guests: BTreeSet::new() })
            .collect();
        let names = families.iter().map(|family| family.source.name.as_str());
        let mut family_of: HashMap<&str, usize> = names.zip(0..).collect();
        // Each group is behind its parent.
        for group in &configuration.groups {
            let Some(index) = family_of.get(group.parent.as_str()).copied() else { continue };
            family_of.insert(&group.name, index);
            families[index].groups.push(GroupOf {
                name: &group.name,
                parent: &group.parent,
                bandwidth: group.bandwidth,
            });
        }
        for guest in &configuration.guests {
            let GuestSource::Shared { parent, .. } = &guest.source else { continue };
            if let Some(index) = family_of.get(parent.as_str()) {
                families[*index].guests.insert(&guest.name);
            }
        }
        families
    }

    /// The name of the source.
    pub fn name(&self) -> &'a str {
        &self.source.name
    }

    /// Whether a guest is below it.
    pub fn has_guest(&self, name: &str) -> bool {
        self.guests.contains(name)
    }

    /// Where its bytes come from.
    pub fn specification(&self) -> &'a Specification {
        &self.source.source
    }

    /// Tries whether connected guests would fit into it, if it is not open yet.
    ///
    /// # Errors
    /// They do not.
    pub fn fits(&self, joining: &[Joining<'_>]) -> Result<()> {
        let name = self.name();
        SharedSource::fits(name, self.source.bandwidth, &self.groups, joining)
            .with_context(|| format!("the shared source {name:?}"))
    }
}

impl Sources {
    /// Opens a source.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn start(&mut self, family: &Family<'_>, class_ids: &ClassIdStore) -> Result<()> {
        let name = &family.source.name;
        let taken = class_ids.of_source(name, &family.guests);
        let source = SharedSource::start(
            name,
            &family.source.source,
            family.source.bandwidth,
            &family.groups,
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

    /// Prepares a source for other groups and bandwidths; guests that are to go have none,
    /// and those that are to come are `joining`.
    ///
    /// # Errors
    /// Something does not fit.
    pub fn prepare<'a>(
        &'a self,
        family: &Family<'a>,
        shares: Vec<(&'a Share, Option<Bandwidth>)>,
        joining: &[Joining<'_>],
    ) -> Result<Change<'a>> {
        let name = family.name();
        let source = self.get(name).with_context(|| format!("no shared source {name:?}"))?;
        source
            .prepare(family.source.bandwidth, family.groups.clone(), shares, joining)
            .with_context(|| format!("the shared source {name:?}"))
    }
}
