//! A source, its guests and a clock, none of them real: runs a [`Tree`] alone, always the same way.
//!
//! Time goes from one event to the next: a guest begins to want something, the tree lets a guest
//! have bytes, the source has made them. So a minute takes as long as its decisions, and everything
//! that happened is in the [`Trace`].
//!
//! ```
//! use std::time::Duration;
//! use entropy::bandwidth::{Bandwidth, ClassId};
//! use entropy::bandwidth::simulator::{Load, Simulator};
//!
//! let (source, web, mail) = (ClassId(0), ClassId(1), ClassId(2));
//! let mut simulator = Simulator::new(source, Bandwidth::capacity(64 << 10))?;
//! let average = |average| Bandwidth { peak: Some(64 << 10), ..Bandwidth::capacity(average) };
//! simulator.add(source, web, average(3000), Load::Greedy { request: 64 })?;
//! simulator.add(source, mail, average(1000), Load::Greedy { request: 4096 })?;
//! simulator.run(Duration::from_secs(10));
//!
//! let given = |class| simulator.trace().given(&[class]);
//! assert!(given(web).abs_diff(3 * given(mail)) < 512);
//! # Ok::<(), entropy::bandwidth::AdmissionError>(())
//! ```

mod load;
mod trace;

pub use load::Load;
pub use trace::{Event, Trace, What};

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use self::load::{After, Guest};
use super::fine_time::{fine, time_for};
use super::{AdmissionError, Bandwidth, ClassId, Next, RemovalError, Tree};

/// A tree, its guests and its source on a clock of their own, which begins at 0.
#[derive(Debug)]
pub struct Simulator {
    tree: Tree,
    /// Where the tree's clock begins: any instant will do.
    epoch: Instant,
    /// Nanoseconds.
    now: u64,
    /// Bytes per second; none is as fast as it is asked.
    speed: Option<u64>,
    guests: BTreeMap<ClassId, Guest>,
    /// When guests do something of themselves.
    wakes: BinaryHeap<Reverse<(u64, ClassId)>>,
    trace: Trace,
}

impl Simulator {
    /// A source without guests.
    ///
    /// # Errors
    /// That of [`Tree::new`].
    pub fn new(root: ClassId, bandwidth: Bandwidth) -> Result<Self, AdmissionError> {
        let epoch = Instant::now();
        Ok(Simulator {
            tree: Tree::new(root, &format!("class {root}"), bandwidth, epoch)?,
            epoch,
            now: 0,
            speed: None,
            guests: BTreeMap::new(),
            wakes: BinaryHeap::new(),
            trace: Trace::default(),
        })
    }

    /// The source makes so many bytes per second from now on, whatever its class says. Without
    /// that, bytes are there when they are asked for.
    pub fn set_speed(&mut self, bytes_per_second: u64) {
        self.speed = Some(bytes_per_second.max(1));
    }

    /// Adds a class; a group has [`Load::None`].
    ///
    /// # Errors
    /// That of [`Tree::add`].
    pub fn add(
        &mut self,
        parent: ClassId,
        id: ClassId,
        bandwidth: Bandwidth,
        load: Load,
    ) -> Result<(), AdmissionError> {
        self.tree.add(parent, id, &format!("class {id}"), bandwidth, self.instant())?;
        self.guests.insert(id, Guest::new(load));
        self.wakes.push(Reverse((self.now, id)));
        Ok(())
    }

    /// Gives classes other bandwidths.
    ///
    /// # Errors
    /// That of [`Tree::change`].
    pub fn change(&mut self, changes: &[(ClassId, Bandwidth)]) -> Result<(), AdmissionError> {
        self.tree.change(changes, self.instant())
    }

    /// Removes a class.
    ///
    /// # Errors
    /// That of [`Tree::remove`].
    pub fn remove(&mut self, id: ClassId) -> Result<(), RemovalError> {
        let waiting = self.tree.usage(id).map_or(0, |usage| usage.waiting);
        self.tree.remove(id, self.instant())?;
        self.guests.remove(&id);
        if waiting > 0 {
            self.trace.record(self.now, id, What::Satisfied);
        }
        Ok(())
    }

    /// Lets time go by. If the source is at work when it is over, until that is done.
    pub fn run(&mut self, time: Duration) {
        let end = self.now.saturating_add(nanoseconds(time));
        self.wake_guests();
        while self.now < end {
            let idle_until = match self.tree.next(self.instant()) {
                Next::Grant { class, bytes } => {
                    self.make(class, bytes);
                    continue;
                }
                Next::From(instant) => self.nanoseconds(instant),
                Next::Idle => end,
            };
            let wake = self.wakes.peek().map_or(end, |Reverse((at, _))| *at);
            self.now = idle_until.min(wake).min(end);
            self.wake_guests();
        }
        self.trace.end = self.now;
    }

    /// What has happened so far.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// The tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The source makes bytes for a leaf; meanwhile, time goes by.
    fn make(&mut self, id: ClassId, bytes: u64) {
        if let Some(speed) = self.speed {
            let time = time_for(bytes, speed) / fine(1);
            let done = self.now.saturating_add(u64::try_from(time).unwrap_or(u64::MAX));
            while let Some(Reverse((at, _))) = self.wakes.peek().filter(|wake| wake.0.0 < done) {
                self.now = *at;
                self.wake_guests();
            }
            self.now = done;
        }
        self.tree.charge(id, bytes, self.instant());
        self.trace.record(self.now, id, What::Given(bytes));
        if self.tree.usage(id).is_some_and(|usage| usage.waiting == 0) {
            self.satisfy(id);
        }
        self.wake_guests();
    }

    /// A guest has what it wanted.
    fn satisfy(&mut self, id: ClassId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        match guest.satisfied(self.now) {
            // The trace has nothing of it: it has never been without a wish.
            After::More(request) => return self.tree.request(id, request, self.instant()),
            After::Wake(at) => self.wakes.push(Reverse((at, id))),
            After::Nothing => {}
        }
        self.trace.record(self.now, id, What::Satisfied);
    }

    /// Those whose time has come do what they do.
    fn wake_guests(&mut self) {
        while let Some(Reverse((at, id))) = self.wakes.peek().copied() {
            if at > self.now {
                return;
            }
            self.wakes.pop();
            self.wake(id);
        }
    }

    fn wake(&mut self, id: ClassId) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let waiting = self.tree.usage(id).map_or(0, |usage| usage.waiting);
        let (wanted, next) = guest.wake(self.now, waiting);
        self.wakes.extend(next.map(|at| Reverse((at, id))));
        self.tree.request(id, wanted, self.instant());
        match (waiting, wanted) {
            (0, 1..) => self.trace.record(self.now, id, What::Wants),
            (1.., 0) => self.trace.record(self.now, id, What::Satisfied),
            _ => {}
        }
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now)
    }

    fn nanoseconds(&self, instant: Instant) -> u64 {
        nanoseconds(instant.saturating_duration_since(self.epoch))
    }
}

/// Nanoseconds of a duration, of the first 584 years of it.
fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
