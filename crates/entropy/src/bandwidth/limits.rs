//! What a class was given, and what follows from it: weight, ceiling, burst and floor.

use super::PERIOD;

/// The least that a grant is, bytes: what Linux asks for at a time.
pub const QUANTUM_BYTES: u64 = 64;

/// A grant is what the source makes in this part of a second, but not less than
/// [`QUANTUM_BYTES`] and not more than [`MAX_QUANTUM_BYTES`].
pub const QUANTUM_PARTS: u64 = 1024;

/// The most that a grant is, bytes: a guest waits while a source makes them.
const MAX_QUANTUM_BYTES: u64 = 16 << 10;

/// The weight of a class without average, bytes per second.
pub const DEFAULT_WEIGHT: u64 = 1 << 10;

/// The maximum of any value, bytes or bytes per second.
pub const MAX_BANDWIDTH: u64 = 1 << 40;

/// The most classes from the root to a leaf, as HTB has it (`TC_HTB_MAXDEPTH`).
pub const MAX_DEPTH: usize = 8;

/// A burst that is left out is what the ceiling gives in this part of a second.
const BURST_PARTS: u64 = 64;

/// A burst that is left out is so many grants at least.
const BURST_QUANTA: u64 = 8;

/// A grant is no more than this part of the burst. While a class waits for its turn, its bucket
/// fills on: if the grant were the whole burst, the bucket would flow over.
const QUANTUM_OF_BURST: u64 = 4;

/// What an administrator gives to a class, in the words of libvirt's `<bandwidth>`, in bytes per
/// second and bytes. All of it may be left out; the root has an average, which is its source's
/// capacity, and at most a burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bandwidth {
    /// What the class may take over time, and its weight when it shares with its siblings: what HTB
    /// calls `rate`. If it is left out, the weight is [`DEFAULT_WEIGHT`].
    pub average: Option<u64>,
    /// Its ceiling, also when others leave something: HTB's `ceil`. If it is left out, it is the
    /// average as it is in HTB; without average, the class's parent is the limit.
    pub peak: Option<u64>,
    /// What the class may take at once after it has been idle: in every stretch of time, it takes
    /// no more than its peak makes in it and the burst. If it is left out, it is what the peak
    /// makes in 1/64 s, and at least eight grants.
    pub burst: Option<u64>,
    /// What the class has however busy the others are, if it wants it. No floor is left out.
    pub floor: Option<u64>,
}

impl Bandwidth {
    /// That of a root: what a source makes, in bytes per second.
    pub fn capacity(average: u64) -> Self {
        Bandwidth { average: Some(average), ..Bandwidth::default() }
    }
}

/// What follows from a [`Bandwidth`], bytes per second and bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Siblings share in proportion to it.
    pub weight: u64,
    /// The ceiling, or none of its own.
    pub ceiling: Option<u64>,
    /// How much of it at once.
    pub burst: u64,
    /// The floor, or 0.
    pub floor: u64,
    /// The most bytes of a grant.
    pub quantum: u64,
}

impl Limits {
    /// Those of a root, whose floor is what it has.
    pub(super) fn of_root(capacity: u64, burst: Option<u64>) -> Self {
        let quantum = (capacity / QUANTUM_PARTS).clamp(QUANTUM_BYTES, MAX_QUANTUM_BYTES);
        let (weight, ceiling, floor) = (capacity, Some(capacity), capacity);
        Limits { weight, ceiling, burst: 0, floor, quantum }.with_burst(burst)
    }

    /// Those of any other class in the tree of this root.
    pub(super) fn of(bandwidth: &Bandwidth, root: &Limits) -> Self {
        let floor = bandwidth.floor.unwrap_or(0);
        let ceiling = bandwidth.peak.or(bandwidth.average);
        let weight = bandwidth.average.unwrap_or(DEFAULT_WEIGHT);
        let quantum = root.quantum;
        Limits { weight, ceiling, burst: 0, floor, quantum }.with_burst(bandwidth.burst)
    }

    /// The same with this burst, or with what it is if it is left out, and the grant that goes with it.
    fn with_burst(self, burst: Option<u64>) -> Self {
        let Some(ceiling) = self.ceiling else { return self };
        let default = (ceiling / BURST_PARTS).max(BURST_QUANTA * self.quantum);
        let burst = burst.unwrap_or(default);
        Limits { burst, quantum: self.quantum.min(burst / QUANTUM_OF_BURST).max(1), ..self }
    }
}

const _: () = assert!(PERIOD.as_secs() == 1, "the parts of a second are parts of a period");

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> Limits {
        Limits::of_root(64 << 10, None)
    }

    #[test]
    fn a_grant_is_a_small_part_of_what_the_source_makes() {
        assert_eq!(root().quantum, 64);
        assert_eq!(Limits::of_root(1, None).quantum, 64);
        assert_eq!(Limits::of_root(1 << 20, None).quantum, 1 << 10);
        assert_eq!(Limits::of_root(1 << 30, None).quantum, 16 << 10);
    }

    #[test]
    fn a_class_with_nothing_has_the_least_weight_and_no_ceiling() {
        let limits = Limits::of(&Bandwidth::default(), &root());
        assert_eq!((limits.weight, limits.ceiling, limits.floor), (1 << 10, None, 0));
    }

    #[test]
    fn a_floor_alone_is_no_weight_and_no_ceiling() {
        let bandwidth = Bandwidth { floor: Some(8 << 10), ..Bandwidth::default() };
        let limits = Limits::of(&bandwidth, &root());
        assert_eq!((limits.weight, limits.ceiling, limits.floor), (1 << 10, None, 8 << 10));
    }

    #[test]
    fn the_average_is_the_ceiling_unless_there_is_a_peak() {
        let mut bandwidth = Bandwidth { average: Some(8 << 10), ..Bandwidth::default() };
        let limits = Limits::of(&bandwidth, &root());
        assert_eq!((limits.weight, limits.ceiling), (8 << 10, Some(8 << 10)));
        bandwidth.peak = Some(32 << 10);
        let limits = Limits::of(&bandwidth, &root());
        assert_eq!((limits.weight, limits.ceiling), (8 << 10, Some(32 << 10)));
        bandwidth.average = None;
        let limits = Limits::of(&bandwidth, &root());
        assert_eq!((limits.weight, limits.ceiling), (1 << 10, Some(32 << 10)));
    }

    #[test]
    fn the_burst_is_a_moment_of_the_peak_and_eight_grants_at_least() {
        let burst = |peak| {
            let bandwidth = Bandwidth { peak: Some(peak), ..Bandwidth::default() };
            Limits::of(&bandwidth, &root()).burst
        };
        assert_eq!(burst(64 << 10), 1 << 10);
        assert_eq!(burst(1 << 10), 512);
    }

    #[test]
    fn a_small_burst_makes_small_grants() {
        let quantum = |burst| {
            let bandwidth = Bandwidth { peak: Some(1 << 10), burst, ..Bandwidth::default() };
            Limits::of(&bandwidth, &root()).quantum
        };
        assert_eq!(quantum(Some(100)), 25);
        assert_eq!(quantum(Some(1)), 1);
        assert_eq!(quantum(Some(4096)), 64);
    }
}
