//! A class: one node of the tree, with all that is remembered of it.

use super::class_ids::ClassId;
use super::limits::{Bandwidth, Limits};
use super::scheduler::{Place, Scheduler};
use super::token_bucket::TokenBucket;

/// Whether a class takes part in the scheduler of its parent's children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It wants nothing, and neither does a child that may have something.
    Idle,
    /// It is at its ceiling until then (nanoseconds).
    Capped(u64),
    /// It takes part.
    Active,
}

#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: Box<str>,
    /// Only the root has none.
    pub(super) parent: Option<ClassId>,
    /// Classes from the root to this one.
    pub(super) depth: usize,
    pub(super) bandwidth: Bandwidth,
    pub(super) limits: Limits,
    /// The ceiling, if there is one of its own.
    pub(super) bucket: Option<TokenBucket>,
    /// Bytes that it wants, if it is a leaf.
    pub(super) request: u64,
    /// Bytes that it, or its leaves, got.
    pub(super) given: u64,
    pub(super) state: State,
    /// Its place among the children of its parent.
    pub(super) place: Place,
    /// Those of its own children that may have something.
    pub(super) scheduler: Scheduler,
    /// How many children there are.
    pub(super) children: usize,
    /// The sum of their floors.
    pub(super) children_floors: u64,
}

impl Class {
    pub(super) fn new(name: &str, bandwidth: Bandwidth, limits: Limits, now: u64) -> Self {
        Class {
            name: name.into(),
            parent: None,
            depth: 1,
            bandwidth,
            limits,
            bucket: limits.ceiling.map(|rate| TokenBucket::new(rate, limits.burst, now)),
            request: 0,
            given: 0,
            state: State::Idle,
            place: Place::default(),
            scheduler: Scheduler::default(),
            children: 0,
            children_floors: 0,
        }
    }

    /// Whether it, or a child that may have something, wants something.
    pub(super) fn wants(&self) -> bool {
        self.request > 0 || !self.scheduler.is_empty()
    }

    /// When its ceiling lets the next grant through: now, or later.
    pub(super) fn open_at(&mut self, now: u64) -> u64 {
        let quantum = self.limits.quantum;
        let grant = if self.request > 0 { self.request.min(quantum) } else { quantum };
        self.bucket.as_mut().map_or(now, |bucket| bucket.when(grant, now))
    }

    /// Lives by other limits from now on.
    pub(super) fn change(&mut self, limits: Limits, now: u64) {
        self.limits = limits;
        match (&mut self.bucket, limits.ceiling) {
            (Some(bucket), Some(rate)) => bucket.change(rate, limits.burst, now),
            (bucket, ceiling) => {
                *bucket = ceiling.map(|rate| TokenBucket::new(rate, limits.burst, now));
            }
        }
    }
}

/// All classes of a tree, by class id.
#[derive(Debug, Default)]
pub(super) struct Classes(Vec<Option<Box<Class>>>);

impl Classes {
    pub(super) fn get(&self, id: ClassId) -> Option<&Class> {
        self.0.get(usize::from(id.0))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: ClassId) -> Option<&mut Class> {
        self.0.get_mut(usize::from(id.0))?.as_deref_mut()
    }

    pub(super) fn insert(&mut self, id: ClassId, class: Class) {
        let index = usize::from(id.0);
        if index >= self.0.len() {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(Box::new(class));
    }

    pub(super) fn remove(&mut self, id: ClassId) {
        if let Some(slot) = self.0.get_mut(usize::from(id.0)) {
            *slot = None;
        }
    }

    /// The class ids of those that are there.
    pub(super) fn ids(&self) -> impl Iterator<Item = ClassId> + '_ {
        (0..=u16::MAX).zip(&self.0).filter(|(_, slot)| slot.is_some()).map(|(id, _)| ClassId(id))
    }
}
