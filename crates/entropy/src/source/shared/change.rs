//! A shared source that gets other classes and numbers while guests are connected.
//!
//! What is asked for is tried on a tree of its own first. So nothing at all has changed when it does
//! not fit, and several sources can be changed all or none: each is prepared, then all are applied.

use std::collections::HashMap;
use std::sync::MutexGuard;
use std::time::Instant;

use super::share::Membership;
use super::{Class, Common, GroupOf, Share, SharedError, SharedSource, State};
use crate::bandwidth::{Bandwidth, ClassId};

/// A change that fits. Nothing moves in the source until it is applied, or dropped.
#[must_use = "nothing changes until it is applied"]
pub struct Change<'a> {
    common: &'a Common,
    name: &'a str,
    bandwidth: Bandwidth,
    groups: Vec<GroupOf<'a>>,
    memberships: Vec<(MutexGuard<'a, Membership>, Option<Bandwidth>)>,
    state: MutexGuard<'a, State>,
}

/// A connected guest that is to have a part of the source.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// The source's name, or that of a group.
    pub parent: &'a str,
    /// Its name.
    pub guest: &'a str,
    /// Its part.
    pub bandwidth: Bandwidth,
}

impl SharedSource {
    /// Tries whether connected guests fit together into a source that is not there yet.
    ///
    /// # Errors
    /// As [`SharedSource::prepare`].
    pub fn fits(
        name: &str,
        bandwidth: Bandwidth,
        groups: &[GroupOf<'_>],
        joining: &[Joining<'_>],
    ) -> Result<(), SharedError> {
        let mut trial = State::new(name, bandwidth, groups, &[])?;
        joining.iter().try_for_each(|guest| trial.try_to_join(guest))
    }

    /// Prepares another bandwidth, other groups (each behind its parent), and other bandwidths of
    /// guests; those that are to go have none, and those that are to come join when it is applied. A
    /// group is the same one if its name is, and all that is above it.
    ///
    /// # Errors
    /// [`SharedError::Admission`] for the first of the groups and connected guests that does not
    /// fit.
    pub fn prepare<'a>(
        &'a self,
        bandwidth: Bandwidth,
        groups: Vec<GroupOf<'a>>,
        shares: Vec<(&'a Share, Option<Bandwidth>)>,
        joining: &[Joining<'_>],
    ) -> Result<Change<'a>, SharedError> {
        let mut trial = State::new(&self.name, bandwidth, &groups, &[])?;
        // Memberships before the state, as everywhere.
        let mut memberships = Vec::with_capacity(shares.len());
        for (share, bandwidth) in shares {
            let membership = share.membership();
            if let Some(bandwidth) = bandwidth.filter(|_| membership.class.is_some()) {
                let (parent, guest) = (share.parent.as_str(), share.guest.as_str());
                trial.try_to_join(&Joining { parent, guest, bandwidth })?;
            }
            memberships.push((membership, bandwidth));
        }
        joining.iter().try_for_each(|guest| trial.try_to_join(guest))?;
        let (common, name) = (&*self.common, self.name.as_str());
        Ok(Change { common, name, bandwidth, groups, memberships, state: common.state() })
    }
}

impl Change<'_> {
    /// Makes it so.
    pub fn apply(self) {
        let Change { common, name, bandwidth, groups, mut memberships, mut state } = self;
        for (membership, bandwidth) in &mut memberships {
            membership.bandwidth = bandwidth.unwrap_or_default();
        }
        let connected = memberships
            .iter()
            .filter_map(|(membership, _)| Some((membership.class?, membership.bandwidth)));
        let connected: Vec<_> = connected.collect();
        if let Err(error) = state.become_like(name, bandwidth, &groups, &connected) {
            // It was tried.
            log::error!("the shared source {name:?}: {error}");
        }
        drop((state, memberships));
        common.bell.wake();
    }
}

impl State {
    /// Makes a guest a class of a tree that is tried.
    fn try_to_join(&mut self, guest: &Joining<'_>) -> Result<(), SharedError> {
        let (parent, id) = (self.class(guest.parent)?, self.class_ids.allocate()?);
        Ok(self.tree.add(parent, id, guest.guest, guest.bandwidth, Instant::now())?)
    }

    fn become_like(
        &mut self,
        name: &str,
        bandwidth: Bandwidth,
        groups: &[GroupOf<'_>],
        connected: &[(ClassId, Bandwidth)],
    ) -> Result<(), SharedError> {
        let now = Instant::now();
        let mut changes = Vec::new();
        let mut before = std::mem::take(&mut self.classes);
        if let Some(root) = before.remove(name) {
            changes.push((root.id, bandwidth));
            self.classes.insert(name.to_owned(), Class { bandwidth, ..root });
        }
        let mut new = Vec::new();
        for group in groups {
            let same = |class: &Class| class.parent.as_deref() == Some(group.parent);
            let stays =
                self.classes.contains_key(group.parent) && before.get(group.name).is_some_and(same);
            if !stays {
                new.push(group);
                continue;
            }
            let Some(class) = before.remove(group.name) else { continue };
            changes.push((class.id, group.bandwidth));
            let class = Class { bandwidth: group.bandwidth, ..class };
            self.classes.insert(group.name.to_owned(), class);
        }
        for class in before.into_values() {
            // Guests are in it until they have gone, and it promises them nothing.
            changes.push((class.id, Bandwidth::default()));
            self.retired.push(class.id);
        }
        let connected: HashMap<ClassId, Bandwidth> = connected.iter().copied().collect();
        for (id, leaf) in &mut self.leaves {
            // A guest that should have gone, and has not, is promised nothing either.
            leaf.bandwidth = connected.get(id).copied().unwrap_or_default();
            changes.push((*id, leaf.bandwidth));
        }
        self.tree.change(&changes, now)?;
        self.remove_retired(now);
        new.into_iter().try_for_each(|group| self.add_group(group, now))
    }
}
