//! Whether a class fits: what is refused, and why, with the numbers.

use std::fmt;

use super::class::Class;
use super::class_ids::ClassId;
use super::limits::{Bandwidth, MAX_BANDWIDTH, MAX_DEPTH};

/// Why a class, or a change of one, is refused. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The floors of a class's children would exceed its own.
    #[error(
        "{class}: its floor of {} does not fit: {} of {parent}'s {} are left for floors",
        Rate(*floor), Rate(*left), Rate(*total)
    )]
    FloorDoesNotFit {
        /// Which class.
        class: String,
        /// Its floor, bytes per second.
        floor: u64,
        /// What its siblings' floors leave, bytes per second.
        left: u64,
        /// Of whose floor.
        parent: String,
        /// How much that is; of a root, its average.
        total: u64,
    },
    /// A class would have less than it has promised to its children.
    #[error(
        "{class}: {} are less than the floors within it, which are {} together",
        Rate(*floor), Rate(*children)
    )]
    FloorsWithin {
        /// Which class.
        class: String,
        /// Its floor; of a root, its average; bytes per second.
        floor: u64,
        /// The sum of its children's.
        children: u64,
    },
    /// A floor that the class's own ceiling forbids.
    #[error(
        "{class}: its floor of {} is above its peak of {} (a peak that is left out is the average)",
        Rate(*floor), Rate(*peak)
    )]
    FloorAbovePeak {
        /// Which class.
        class: String,
        /// Its floor, bytes per second.
        floor: u64,
        /// Its ceiling, bytes per second.
        peak: u64,
    },
    /// An average that the class's own ceiling forbids.
    #[error("{class}: its average of {} is above its peak of {}", Rate(*average), Rate(*peak))]
    AverageAbovePeak {
        /// Which class.
        class: String,
        /// Its average, bytes per second.
        average: u64,
        /// Its peak, bytes per second.
        peak: u64,
    },
    /// A value that is not possible.
    #[error("{class}: invalid {what}: {value} bytes; expected 1 B to 1 TiB")]
    Impossible {
        /// Which class.
        class: String,
        /// `average`, `peak`, `burst` or `floor`.
        what: &'static str,
        /// The value.
        value: u64,
    },
    /// A root without capacity.
    #[error(
        "{class}: the average is missing; set it to the bytes per second that the source makes"
    )]
    NoCapacity {
        /// Which class.
        class: String,
    },
    /// A root's capacity is all it has.
    #[error("{class}: cannot set the {what} of a source; its average is its capacity")]
    RootHasOnlyAnAverage {
        /// Which class.
        class: String,
        /// `peak` or `floor`.
        what: &'static str,
    },
    /// Two classes cannot have one class id.
    #[error("{class}: class id {id} is in use")]
    Exists {
        /// Which class.
        class: String,
        /// Its class id.
        id: ClassId,
    },
    /// A class is not there.
    #[error("unknown class {0}")]
    Unknown(ClassId),
    /// Too many groups within each other.
    #[error("{class}: cannot nest {depth} classes; at most {MAX_DEPTH}")]
    TooDeep {
        /// Which class.
        class: String,
        /// How deep.
        depth: usize,
    },
}

/// Why a class cannot be removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemovalError {
    /// It is not there.
    #[error("unknown class {0}")]
    Unknown(ClassId),
    /// Others are in it.
    #[error("{class}: cannot remove a class with {children} children; remove them first")]
    HasChildren {
        /// Which class.
        class: String,
        /// How many others.
        children: usize,
    },
    /// The root goes with its tree.
    #[error("{0}: cannot remove the root of a tree; remove the source")]
    Root(String),
}

/// Bytes per second as an administrator writes them: in KiB when they are whole.
struct Rate(u64);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rate if rate % 1024 == 0 => write!(f, "{} KiB/s", rate / 1024),
            rate => write!(f, "{rate} B/s"),
        }
    }
}

/// Checks what a class is given, by itself.
pub(super) fn check(
    class: &str,
    bandwidth: &Bandwidth,
    is_root: bool,
) -> Result<(), AdmissionError> {
    let Bandwidth { average, peak, burst, floor } = *bandwidth;
    let class = || class.to_owned();
    let values = [("average", average), ("peak", peak), ("burst", burst)];
    for (what, value) in values {
        if let Some(value) = value.filter(|value| !(1..=MAX_BANDWIDTH).contains(value)) {
            return Err(AdmissionError::Impossible { class: class(), what, value });
        }
    }
    if let Some(value) = floor.filter(|value| *value > MAX_BANDWIDTH) {
        return Err(AdmissionError::Impossible { class: class(), what: "floor", value });
    }
    if is_root {
        for (what, value) in [("peak", peak), ("floor", floor)] {
            if value.is_some() {
                return Err(AdmissionError::RootHasOnlyAnAverage { class: class(), what });
            }
        }
        if average.is_none() {
            return Err(AdmissionError::NoCapacity { class: class() });
        }
    }
    let Some(ceiling) = peak.or(average) else { return Ok(()) };
    match (average, floor) {
        (Some(average), _) if average > ceiling => {
            Err(AdmissionError::AverageAbovePeak { class: class(), average, peak: ceiling })
        }
        (_, Some(floor)) if floor > ceiling => {
            Err(AdmissionError::FloorAbovePeak { class: class(), floor, peak: ceiling })
        }
        _ => Ok(()),
    }
}

/// Checks whether the floors of a class's children, of which one is this, fit into its own.
pub(super) fn check_fit(parent: &Class, child: &str, floor: u64) -> Result<(), AdmissionError> {
    if floor == 0 || parent.children_floors <= parent.limits.floor {
        return Ok(());
    }
    let others = parent.children_floors.saturating_sub(floor);
    Err(AdmissionError::FloorDoesNotFit {
        class: child.to_owned(),
        floor,
        left: parent.limits.floor.saturating_sub(others),
        parent: parent.name.clone().into(),
        total: parent.limits.floor,
    })
}
