//! The scheduler of a class: which of its children comes next.
//!
//! Each child has a place in up to two queues. By floor: it is due when its floor has made a grant
//! for it, and the deadline is when the floor would have finished that; those that are due go first,
//! the earliest deadline before the others. By share: a child's virtual time is how long its weight
//! would have needed for what it got; if none is due, the least virtual time goes first.
//!
//! Bytes that a child gets while it is due count for its floor. Other bytes do not: the child would be
//! without its floor later. All bytes count for its share.

use std::collections::{BTreeMap, BTreeSet};

use super::class_ids::ClassId;
use super::fine_time::{SECOND, fine, time_for};
use super::limits::Limits;

/// The maximum lag of the floors, in nanoseconds; more is forgotten. Floors only lag if the source
/// makes less than it should; without a bound, it would take as long to catch up.
const MAX_LAG: u64 = SECOND / 8;

/// A floor may also lag by so many of its grants.
const MAX_LAG_GRANTS: u128 = 4;

/// How far floors may carry a child beyond its share, in grants of the lightest child, before the
/// rest is forgotten: without a bound it would have to wait for as long when its floor is taken away.
const MAX_AHEAD: u128 = 4;

/// A child's place among its siblings. It keeps it while it is away.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// How long its weight would have needed for what it got (fine time).
    virtual_time: u128,
    /// When it is due for its floor (fine time of the scheduler's clock).
    due: u128,
    /// When it went, if it is away (fine time of the same clock).
    went: u128,
}

impl Place {
    /// Its child got bytes while it was not in the queues: they count for its share.
    pub(super) fn pay(&mut self, limits: &Limits, bytes: u64) {
        self.virtual_time = self.virtual_time.saturating_add(time_for(bytes, limits.weight));
    }
}

/// The children of one class that want something and may have it.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    /// All of them, by virtual time.
    shares: BTreeSet<(u128, ClassId)>,
    /// Those with a floor that are due, by deadline, and the time their floor needs for a grant.
    due: BTreeMap<(u128, ClassId), u128>,
    /// Those with a floor that are due later, by when that is, and the same.
    early: BTreeMap<(u128, ClassId), u128>,
    /// The least virtual time in the queues when a child last got bytes: a child that comes back
    /// starts here.
    virtual_time: u128,
    /// The most virtual time of a grant, of the children since the queues were last empty.
    longest: u128,
    /// How much the clock of the floors is behind the real one (fine time): what the source has
    /// missed.
    missed: u128,
}

impl Scheduler {
    pub(super) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// A child comes, or comes back. What it has not asked for while it was away is gone, apart from
    /// one grant by share: so it goes first if it had less than others.
    ///
    /// If its floor was late when it went, that is forgotten as quickly as it is away. One that is
    /// away for a moment, because it asks for more when it has had something, still gets all of it.
    pub(super) fn enter(&mut self, id: ClassId, place: &mut Place, limits: &Limits, now: u64) {
        let credit = time_for(limits.quantum, limits.weight);
        self.longest = if self.is_empty() { credit } else { self.longest.max(credit) };
        place.virtual_time = place.virtual_time.max(self.virtual_time.saturating_sub(credit));
        let clock = self.clock(now);
        let away = clock.saturating_sub(place.went);
        // If others are late, it is no later than they are.
        let due = self.due.first_key_value().map(|((deadline, _), _)| *deadline);
        let early = self.early.first_key_value().map(|((due, _), span)| due + span);
        let start = due.into_iter().chain(early).fold(clock, u128::min);
        place.due = place.due.max(start.min(place.due.saturating_add(2 * away)));
        self.insert(id, place, limits);
    }

    /// A child goes.
    pub(super) fn leave(&mut self, id: ClassId, place: &mut Place, limits: &Limits, now: u64) {
        place.went = self.clock(now);
        if limits.floor == 0 {
            // It was never late. It may come back with a floor.
            place.due = place.went;
        }
        self.take_out(id, place, limits);
    }

    /// The child that comes next.
    pub(super) fn first(&mut self, now: u64) -> Option<ClassId> {
        let clock = self.clock(now);
        while let Some(entry) = self.early.first_entry() {
            let ((due, id), span) = (*entry.key(), *entry.get());
            if due > clock {
                break;
            }
            entry.remove();
            self.due.insert((due + span, id), span);
        }
        if let Some(((deadline, id), span)) = self.due.first_key_value() {
            let latest = deadline + fine(MAX_LAG) + MAX_LAG_GRANTS * span;
            self.missed += clock.saturating_sub(latest);
            return Some(*id);
        }
        self.shares.first().map(|(_, id)| *id)
    }

    /// A child that takes part has got something.
    pub(super) fn charge(&mut self, id: ClassId, place: &mut Place, limits: &Limits, bytes: u64) {
        if let Some((least, _)) = self.shares.first() {
            self.virtual_time = self.virtual_time.max(*least);
        }
        let was_due = self.take_out(id, place, limits);
        let start = place.virtual_time;
        place.pay(limits, bytes);
        if was_due {
            place.due = place.due.saturating_add(time_for(bytes, limits.floor));
            let most = self.virtual_time.saturating_add(MAX_AHEAD * self.longest).max(start);
            place.virtual_time = place.virtual_time.min(most);
        }
        self.insert(id, place, limits);
    }

    /// Takes a child out of the queues. Returns whether it was due.
    fn take_out(&mut self, id: ClassId, place: &Place, limits: &Limits) -> bool {
        self.shares.remove(&(place.virtual_time, id));
        if limits.floor == 0 {
            return false;
        }
        self.early.remove(&(place.due, id));
        self.due.remove(&(place.due + time_for(limits.quantum, limits.floor), id)).is_some()
    }

    fn insert(&mut self, id: ClassId, place: &Place, limits: &Limits) {
        self.shares.insert((place.virtual_time, id));
        if limits.floor > 0 {
            self.early.insert((place.due, id), time_for(limits.quantum, limits.floor));
        }
    }

    /// How many places are taken in all queues.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.shares.len() + self.due.len() + self.early.len()
    }

    /// The time of the floors' clock.
    fn clock(&self, now: u64) -> u128 {
        fine(now).saturating_sub(self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bandwidth::Bandwidth;

    const A: ClassId = ClassId(1);
    const B: ClassId = ClassId(2);
    const C: ClassId = ClassId(3);

    /// Children that always want more, and how often each had its turn, of `turns` which a source
    /// makes in so many nanoseconds each.
    fn turns(children: &[(ClassId, u64, u64)], turns: u64, time: u64) -> Vec<u64> {
        let root = Limits::of_root(1 << 16, None);
        let mut scheduler = Scheduler::default();
        let mut places = Vec::new();
        for (id, weight, floor) in children {
            let bandwidth = Bandwidth { floor: Some(*floor), ..Bandwidth::default() };
            let limits = Limits { weight: *weight, ..Limits::of(&bandwidth, &root) };
            let mut place = Place::default();
            scheduler.enter(*id, &mut place, &limits, 0);
            places.push((*id, place, limits, 0));
        }
        for turn in 0..turns {
            let first = scheduler.first(turn * time).expect("a child");
            let child = places.iter_mut().find(|(id, ..)| *id == first).expect("the child");
            scheduler.charge(first, &mut child.1, &child.2, 64);
            child.3 += 1;
        }
        places.iter().map(|(.., count)| *count).collect()
    }

    /// 64 bytes at 64 KiB/s.
    const TIME: u64 = SECOND / 1024;

    #[test]
    fn without_floors_the_weights_share() {
        assert_eq!(turns(&[(A, 1, 0), (B, 2, 0), (C, 5, 0)], 800, TIME), [100, 200, 500]);
    }

    #[test]
    fn a_floor_above_its_share_is_kept_and_the_others_share_the_rest() {
        let counts = turns(&[(A, 1, 32 << 10), (B, 1, 0), (C, 3, 0)], 1024, TIME);
        assert!(counts[0].abs_diff(512) <= 1, "{counts:?}");
        assert!(counts[1].abs_diff(128) <= 2, "{counts:?}");
    }

    #[test]
    fn a_floor_below_its_share_changes_nothing() {
        let counts = turns(&[(A, 1, 8 << 10), (B, 1, 0)], 1024, TIME);
        assert!(counts[0].abs_diff(512) <= 1, "{counts:?}");
    }

    #[test]
    fn a_source_that_is_too_slow_is_shared_in_proportion_to_the_floors() {
        let counts = turns(&[(A, 1, 16 << 10), (B, 1, 48 << 10)], 10_000, 20 * TIME);
        assert!(counts[0].abs_diff(2500) <= 25, "{counts:?}");
    }

    #[test]
    fn child_that_comes_back_gets_no_credit_for_its_absence() {
        let root = Limits::of_root(1 << 16, None);
        let limits = Limits::of(&Bandwidth::default(), &root);
        let mut scheduler = Scheduler::default();
        let (mut a, mut b) = (Place::default(), Place::default());
        scheduler.enter(A, &mut a, &limits, 0);
        for _ in 0..1000 {
            scheduler.charge(A, &mut a, &limits, 64);
        }
        scheduler.enter(B, &mut b, &limits, 0);
        let mut in_a_row = 0;
        while scheduler.first(0) == Some(B) {
            scheduler.charge(B, &mut b, &limits, 64);
            in_a_row += 1;
        }
        assert!(in_a_row <= 3, "{in_a_row}");
    }
}
