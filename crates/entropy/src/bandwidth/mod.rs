//! The bandwidth of a source that many guests share: a tree of classes decides which guest gets how
//! much.
//!
//! The guests of a source are the leaves of a tree of classes. Its root is the source, with the bytes
//! per second that it makes; groups are in between. Each class has a [`Bandwidth`], in the words of
//! libvirt's `<bandwidth>` and of the kernel's HTB. Three rules follow from it:
//!
//! - **Floors.** A class that is behind its floor comes before all others of its parent, the one
//!   with the earliest deadline first. The floors of a class's children fit into its own, so that
//!   all of them hold.
//! - **Shares.** Otherwise the class that has had least for its `average` comes first. So children
//!   share in proportion to their averages, and unused bandwidth goes to the others.
//! - **Ceilings.** A class that is at its peak, or within one that is, gets nothing.
//!
//! The rules are those of hierarchical fair service curves (Stoica, Zhang, Ng, "A Hierarchical Fair
//! Service Curve Algorithm", 1997) with straight lines for curves: deadlines for floors, virtual
//! times for shares, a token bucket for the ceiling. Unlike there, groups have floors too, and each
//! class of the way down chooses by all three.
//!
//! A [`Tree`] is a plain value: it has no thread, file or clock, and every call says what time it is.
//! [`simulator`] runs one on a virtual clock. `docs/bandwidth.md` explains the same to an
//! administrator.
//!
//! ```
//! use std::time::Instant;
//! use entropy::bandwidth::{Bandwidth, ClassId, Next, Tree};
//!
//! let (source, web, mail) = (ClassId(0), ClassId(1), ClassId(2));
//! let mut now = Instant::now();
//! let mut tree = Tree::new(source, "hwrng", Bandwidth::capacity(64 << 10), now)?;
//! tree.add(source, web, "web", Bandwidth { floor: Some(48 << 10), ..Bandwidth::default() }, now)?;
//! tree.add(source, mail, "mail", Bandwidth::default(), now)?;
//!
//! tree.request(web, 4096, now);
//! tree.request(mail, 4096, now);
//! let mut given = [0; 3];
//! loop {
//!     match tree.next(now) {
//!         Next::Grant { class, bytes } => {
//!             // Here a daemon reads the bytes from its source.
//!             given[usize::from(class.0)] += bytes;
//!             tree.charge(class, bytes, now);
//!         }
//!         Next::From(instant) => now = instant,
//!         Next::Idle => break,
//!     }
//! }
//! assert_eq!(given, [0, 4096, 4096]);
//! # Ok::<(), entropy::bandwidth::AdmissionError>(())
//! ```

mod admission;
mod class;
mod class_ids;
mod fine_time;
mod limits;
mod scheduler;
pub mod simulator;
mod token_bucket;
mod tree;

pub use admission::{AdmissionError, RemovalError};
pub use class_ids::{ClassId, ClassIdAllocator, ClassIdError};
pub use limits::{
    Bandwidth, DEFAULT_WEIGHT, Limits, MAX_BANDWIDTH, MAX_DEPTH, QUANTUM_BYTES, QUANTUM_PARTS,
};
pub use tree::{Next, Tree, Usage};

use std::time::Duration;

/// In every stretch of time that is as long as this, or longer, a class that wants bytes has its
/// floor. In shorter ones, others may have come first.
pub const PERIOD: Duration = Duration::from_secs(1);
