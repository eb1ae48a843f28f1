//! A shared source that gets other classes and numbers while guests are connected.
//!
//! What is asked for is tried on a tree of its own first. So nothing at all has changed when it does
//! not fit, and several sources can be changed all or none: each is prepared, then all are applied.

use std::sync::MutexGuard;
use std::time::Instant;

use super::{Class, ClassId, Common, GroupOf, Seat, Share, SharedError, SharedSource, State};
use crate::bandwidth::Bandwidth;

/// A change that fits. Nothing moves in the source until it is applied, or dropped.
#[must_use = "nothing changes until it is applied"]
pub struct Change<'a> {
    common: &'a Common,
    name: &'a str,
    bandwidth: Bandwidth,
    groups: Vec<GroupOf<'a>>,
    seats: Vec<(MutexGuard<'a, Seat>, Option<Bandwidth>)>,
    state: MutexGuard<'a, State>,
}

impl SharedSource {
    /// Prepares another bandwidth, other groups (each behind its parent), and other bandwidths of
    /// guests; those that are to go have none. A group is the same one if its name is, and all that
    /// is above it.
    ///
    /// # Errors
    /// [`SharedError::Admission`] for the first of the groups and connected guests that does not
    /// fit.
    pub fn prepare<'a>(
        &'a self,
        bandwidth: Bandwidth,
        groups: Vec<GroupOf<'a>>,
        shares: Vec<(&'a Share, Option<Bandwidth>)>,
    ) -> Result<Change<'a>, SharedError> {
        let mut trial = State::new(&self.name, bandwidth, &groups, &[])?;
        // Seats before the state, as everywhere.
        let mut seats = Vec::with_capacity(shares.len());
        for (share, bandwidth) in shares {
            let seat = share.seat();
            if let Some(bandwidth) = bandwidth.filter(|_| seat.class.is_some()) {
                let (parent, id) = (trial.class(&share.parent)?, trial.identifiers.take()?);
                trial.tree.add(parent, id, &share.guest, bandwidth, Instant::now())?;
            }
            seats.push((seat, bandwidth));
        }
        let (common, name) = (&*self.common, self.name.as_str());
        Ok(Change { common, name, bandwidth, groups, seats, state: common.state() })
    }
}

impl Change<'_> {
    /// Makes it so.
    pub fn apply(self) {
        let Change { common, name, bandwidth, groups, mut seats, mut state } = self;
        for (seat, bandwidth) in &mut seats {
            seat.bandwidth = bandwidth.unwrap_or_default();
        }
        let connected = seats.iter().filter_map(|(seat, _)| Some((seat.class?, seat.bandwidth)));
        let connected: Vec<_> = connected.collect();
        if let Err(error) = state.become_like(name, bandwidth, &groups, &connected) {
            // It was tried, and can only be in the way of somebody who should have gone earlier.
            log::error!("the shared source {name:?}: {error}");
        }
        drop((state, seats));
        common.bell.wake();
    }
}

impl State {
    fn become_like(
        &mut self,
        name: &str,
        bandwidth: Bandwidth,
        groups: &[GroupOf<'_>],
        connected: &[(ClassId, Bandwidth)],
    ) -> Result<(), SharedError> {
        let now = Instant::now();
        let mut changes = connected.to_vec();
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
        for (id, bandwidth) in connected {
            if let Some(leaf) = self.leaves.get_mut(id) {
                leaf.bandwidth = *bandwidth;
            }
        }
        self.tree.change(&changes, now)?;
        self.remove_retired(now);
        new.into_iter().try_for_each(|group| self.add_group(group, now))
    }
}
