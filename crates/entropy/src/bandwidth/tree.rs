//! The tree of classes that share one source.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::admission::{AdmissionError, RemovalError, check, check_fit};
use super::class::{Class, Classes, State};
use super::class_ids::ClassId;
use super::limits::{Bandwidth, Limits, MAX_DEPTH};

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This leaf may have so many bytes, 1 or more, and no more than it wants: read them, then
    /// [`charge`](Tree::charge) what there was. Until then, the answer stays about the same.
    Grant {
        /// Which leaf.
        class: ClassId,
        /// How many bytes.
        bytes: u64,
    },
    /// Nothing before then: each class that wants bytes is at a ceiling.
    From(Instant),
    /// No class wants bytes.
    Idle,
}

/// What a class has had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that it, or the leaves in it, got since it was added.
    pub given: u64,
    /// Bytes that it wants, if it is a leaf.
    pub waiting: u64,
}

/// The classes of one source. See the [module](super).
///
/// Time that goes backwards stands still. Calls that name a class which is not there do nothing,
/// unless they return an error: a guest may go while the bytes of its grant are read.
#[derive(Debug)]
pub struct Tree {
    classes: Classes,
    root: ClassId,
    /// Classes at their ceilings, by the time they come back (nanoseconds).
    capped: BTreeSet<(u64, ClassId)>,
    /// All time in here is in nanoseconds since then.
    epoch: Instant,
}

impl Tree {
    /// A tree with nothing but its root, whose average is what the source makes.
    ///
    /// # Errors
    /// A bandwidth that is not possible for a root.
    pub fn new(
        id: ClassId,
        name: &str,
        bandwidth: Bandwidth,
        now: Instant,
    ) -> Result<Self, AdmissionError> {
        check(name, &bandwidth, true)?;
        let limits = Limits::of_root(bandwidth.average.unwrap_or(1), bandwidth.burst);
        let mut classes = Classes::default();
        classes.insert(id, Class::new(name, bandwidth, limits, 0));
        Ok(Tree { classes, root: id, capped: BTreeSet::new(), epoch: now })
    }

    /// Adds a class. A leaf is one that has no children: what it has asked for is forgotten when the
    /// first one is added. The name is for errors.
    ///
    /// # Errors
    /// Whatever does not fit.
    pub fn add(
        &mut self,
        parent: ClassId,
        id: ClassId,
        name: &str,
        bandwidth: Bandwidth,
        now: Instant,
    ) -> Result<(), AdmissionError> {
        check(name, &bandwidth, false)?;
        if self.classes.get(id).is_some() {
            return Err(AdmissionError::Exists { class: name.to_owned(), id });
        }
        let limits = self.limits_of(id, &bandwidth);
        let class = self.classes.get_mut(parent).ok_or(AdmissionError::Unknown(parent))?;
        let depth = class.depth + 1;
        if depth > MAX_DEPTH {
            return Err(AdmissionError::TooDeep { class: name.to_owned(), depth });
        }
        class.children_floors += limits.floor;
        if let Err(error) = check_fit(class, name, limits.floor) {
            class.children_floors -= limits.floor;
            return Err(error);
        }
        class.children += 1;
        class.request = 0;
        let now = self.nanoseconds(now);
        let child =
            Class { parent: Some(parent), depth, ..Class::new(name, bandwidth, limits, now) };
        self.classes.insert(id, child);
        self.settle(parent, now);
        Ok(())
    }

    /// Gives classes that are there other bandwidths, all or none of them. They keep their places,
    /// and what they have asked for.
    ///
    /// # Errors
    /// The first of them that does not fit.
    pub fn change(
        &mut self,
        changes: &[(ClassId, Bandwidth)],
        now: Instant,
    ) -> Result<(), AdmissionError> {
        let mut before = Vec::with_capacity(changes.len());
        for (id, bandwidth) in changes {
            let class = self.classes.get(*id).ok_or(AdmissionError::Unknown(*id))?;
            check(&class.name, bandwidth, *id == self.root)?;
            before.push((*id, class.bandwidth));
        }
        let now = self.nanoseconds(now);
        self.set_all(changes, now);
        let fits = changes.iter().try_for_each(|(id, _)| self.check_around(*id));
        if fits.is_err() {
            // The last first: a class may be named twice.
            before.reverse();
            self.set_all(&before, now);
        }
        fits
    }

    /// Removes a class, and what it wants.
    ///
    /// # Errors
    /// If it has children, or is the root, or is not there.
    pub fn remove(&mut self, id: ClassId, now: Instant) -> Result<(), RemovalError> {
        let class = self.classes.get_mut(id).ok_or(RemovalError::Unknown(id))?;
        if class.children > 0 {
            let (class, children) = (class.name.clone().into(), class.children);
            return Err(RemovalError::HasChildren { class, children });
        }
        let (floor, parent) = (class.limits.floor, class.parent);
        let Some(parent) = parent else {
            return Err(RemovalError::Root(class.name.clone().into()));
        };
        class.request = 0;
        let now = self.nanoseconds(now);
        self.settle(id, now);
        self.classes.remove(id);
        if let Some(parent) = self.classes.get_mut(parent) {
            parent.children -= 1;
            parent.children_floors -= floor;
        }
        Ok(())
    }

    /// A leaf wants so many bytes from now on, in place of what it wanted before; 0 is nothing more.
    pub fn request(&mut self, id: ClassId, bytes: u64, now: Instant) {
        let now = self.nanoseconds(now);
        match self.classes.get_mut(id) {
            Some(class) if class.children == 0 && class.parent.is_some() => class.request = bytes,
            _ => return,
        }
        self.settle(id, now);
    }

    /// The next grant. There is one grant at a time: what is read for it counts when it is
    /// [charged](Self::charge), not before.
    pub fn next(&mut self, now: Instant) -> Next {
        let now = self.nanoseconds(now);
        while let Some(&(until, id)) = self.capped.first().filter(|(until, _)| *until <= now) {
            self.settle(id, now);
            // It is settled by that; but nothing may go round in circles here.
            self.capped.remove(&(until, id));
        }
        let Some(root) = self.classes.get_mut(self.root) else { return Next::Idle };
        if root.scheduler.is_empty() {
            return self.capped.first().map_or(Next::Idle, |(until, _)| self.from(*until));
        }
        let open = root.open_at(now);
        if open > now {
            return self.from(open);
        }
        let mut id = self.root;
        let mut bytes = u64::MAX;
        while let Some(class) = self.classes.get_mut(id) {
            bytes = bytes.min(class.limits.quantum);
            match class.scheduler.first(now) {
                Some(child) => id = child,
                None => return Next::Grant { class: id, bytes: bytes.min(class.request) },
            }
        }
        Next::Idle
    }

    /// What the source made for a grant, which may be less than it, or nothing: that is then tried
    /// again.
    pub fn charge(&mut self, id: ClassId, bytes: u64, now: Instant) {
        let now = self.nanoseconds(now);
        if let Some(leaf) = self.classes.get_mut(id) {
            leaf.request = leaf.request.saturating_sub(bytes);
        }
        let mut next = Some(id);
        while let Some(id) = next {
            let Some(class) = self.classes.get_mut(id) else { return };
            class.given = class.given.saturating_add(bytes);
            if let Some(bucket) = &mut class.bucket {
                bucket.take(bytes, now);
            }
            let (mut place, limits, state) = (class.place, class.limits, class.state);
            next = class.parent;
            match next.and_then(|parent| self.classes.get_mut(parent)) {
                Some(parent) if state == State::Active => {
                    parent.scheduler.charge(id, &mut place, &limits, bytes);
                }
                _ => place.pay(&limits, bytes),
            }
            if let Some(class) = self.classes.get_mut(id) {
                class.place = place;
            }
            self.settle_one(id, now);
        }
    }

    /// What a class has had.
    pub fn usage(&self, id: ClassId) -> Option<Usage> {
        let class = self.classes.get(id)?;
        Some(Usage { given: class.given, waiting: class.request })
    }

    /// What a class lives by.
    pub fn limits(&self, id: ClassId) -> Option<Limits> {
        Some(self.classes.get(id)?.limits)
    }

    /// Brings a class, and those that it is in, into the states that they should be in.
    fn settle(&mut self, id: ClassId, now: u64) {
        let mut next = Some(id);
        while let Some(id) = next {
            next = self.settle_one(id, now);
        }
    }

    /// Brings a class into the state that it should be in: idle, at its ceiling, or competing.
    /// Returns its parent.
    fn settle_one(&mut self, id: ClassId, now: u64) -> Option<ClassId> {
        let class = self.classes.get_mut(id)?;
        let (parent, before) = (class.parent?, class.state);
        let state = match class.open_at(now) {
            _ if !class.wants() => State::Idle,
            open if open > now => State::Capped(open),
            _ => State::Active,
        };
        class.state = state;
        if state == before {
            return Some(parent);
        }
        let (mut place, limits) = (class.place, class.limits);
        if let State::Capped(until) = before {
            self.capped.remove(&(until, id));
        }
        if let State::Capped(until) = state {
            self.capped.insert((until, id));
        }
        let scheduler = &mut self.classes.get_mut(parent)?.scheduler;
        if before == State::Active {
            scheduler.leave(id, &mut place, &limits, now);
        }
        if state == State::Active {
            scheduler.enter(id, &mut place, &limits, now);
        }
        self.classes.get_mut(id)?.place = place;
        Some(parent)
    }

    /// Sets bandwidths without a look at whether they fit.
    fn set_all(&mut self, bandwidths: &[(ClassId, Bandwidth)], now: u64) {
        for (id, bandwidth) in bandwidths {
            if let Some(class) = self.classes.get_mut(*id) {
                class.bandwidth = *bandwidth;
            }
            self.set_limits(*id, now);
            if *id == self.root {
                // How large a grant is follows from the root.
                let all: Vec<_> = self.classes.ids().collect();
                all.into_iter().for_each(|id| self.set_limits(id, now));
            }
        }
    }

    /// Lets a class live by its bandwidth.
    fn set_limits(&mut self, id: ClassId, now: u64) {
        let Some(class) = self.classes.get(id) else { return };
        let (parent, state, old) = (class.parent, class.state, class.limits);
        let mut place = class.place;
        let new = self.limits_of(id, &class.bandwidth);
        if let Some(parent) = parent.and_then(|parent| self.classes.get_mut(parent)) {
            if state == State::Active {
                parent.scheduler.leave(id, &mut place, &old, now);
            }
            parent.children_floors = parent.children_floors - old.floor + new.floor;
        }
        if let State::Capped(until) = state {
            self.capped.remove(&(until, id));
        }
        if let Some(class) = self.classes.get_mut(id) {
            (class.place, class.state) = (place, State::Idle);
            class.change(new, now);
        }
        self.settle(id, now);
    }

    fn limits_of(&self, id: ClassId, bandwidth: &Bandwidth) -> Limits {
        match self.classes.get(self.root) {
            Some(root) if id != self.root => Limits::of(bandwidth, &root.limits),
            _ => Limits::of_root(bandwidth.average.unwrap_or(1), bandwidth.burst),
        }
    }

    /// Checks whether a class fits into its parent, and its children into it.
    fn check_around(&self, id: ClassId) -> Result<(), AdmissionError> {
        let class = self.classes.get(id).ok_or(AdmissionError::Unknown(id))?;
        if let Some(parent) = class.parent.and_then(|parent| self.classes.get(parent)) {
            check_fit(parent, &class.name, class.limits.floor)?;
        }
        if class.children_floors > class.limits.floor {
            return Err(AdmissionError::FloorsWithin {
                class: class.name.clone().into(),
                floor: class.limits.floor,
                children: class.children_floors,
            });
        }
        Ok(())
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn from(&self, nanoseconds: u64) -> Next {
        let instant = self.epoch.checked_add(Duration::from_nanos(nanoseconds));
        instant.map_or(Next::Idle, Next::From)
    }
}

#[cfg(test)]
mod tests;
