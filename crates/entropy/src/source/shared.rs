//! One source for many guests, shared by the rules of a tree of classes.
//!
//! A thread reads the real source. The [tree](crate::bandwidth) decides for which guest, and how many
//! bytes. A guest is a leaf of the tree while a client is connected to it, so its floor counts only
//! then: [`Share::join`] and [`Share::leave`]. Its device reads its share as any other source, which
//! is a request if there are no bytes, and is woken when some have come.
//!
//! Bytes of a guest that has left go to the next guest: a scarce source is not wasted.

mod change;
mod share;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use vfio_user_device::Waker;

pub use change::{Change, Joining};
pub use share::Share;

use super::{ReadOutcome, Source, SourceError, Specification};
use crate::bandwidth::{
    AdmissionError, Bandwidth, ClassId, ClassIdAllocator, ClassIdError, Next, Tree,
};
use crate::health::HealthReport;
use crate::sandbox::SHARED_SOURCE;

/// Why a shared source, or a share of one, cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SharedError {
    /// The source itself cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// eventfd(2) failed for a waker.
    #[error("cannot create an eventfd")]
    Waker(#[source] io::Error),
    /// The bandwidths do not fit.
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    /// There is no class id left.
    #[error(transparent)]
    Identifier(#[from] ClassIdError),
    /// A parent names a class that does not exist.
    #[error("unknown class {0:?}")]
    NoSuchClass(String),
}

/// A class between the source and the guests.
#[derive(Clone, Copy, Debug)]
pub struct GroupOf<'a> {
    /// By what it is asked for.
    pub name: &'a str,
    /// The source's name, or that of a group before it.
    pub parent: &'a str,
    /// What it shares.
    pub bandwidth: Bandwidth,
}

/// What there is to say about a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassState {
    /// Its number in the tree.
    pub id: ClassId,
    /// What it was given by the configuration.
    pub bandwidth: Bandwidth,
    /// How much of its floor is promised to groups and connected guests in it, bytes in a second.
    pub promised: u64,
}

/// A source that is shared. It is closed when the last handle and the last share of it have gone.
pub struct SharedSource {
    name: String,
    common: Arc<Common>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread and the shares have in common.
struct Common {
    state: Mutex<State>,
    /// The real source. It is locked during a read, which does not block.
    source: Mutex<Box<dyn Source>>,
    /// Rung when the thread has something to look at: by the source, and by shares.
    bell: Waker,
    closed: AtomicBool,
}

struct State {
    tree: Tree,
    class_ids: ClassIdAllocator,
    /// The source and the groups, by their names.
    classes: BTreeMap<String, Class>,
    /// Groups that there are no more, and that guests have not left yet.
    retired: Vec<ClassId>,
    /// The guests that are connected.
    leaves: HashMap<ClassId, Leaf>,
    /// Bytes that were read for a guest that has left.
    surplus: VecDeque<u8>,
}

struct Class {
    id: ClassId,
    /// None for the source.
    parent: Option<String>,
    bandwidth: Bandwidth,
}

struct Leaf {
    parent: ClassId,
    bandwidth: Bandwidth,
    /// What has come and was not taken yet.
    bytes: VecDeque<u8>,
    waker: Waker,
}

impl SharedSource {
    /// Opens a source and starts to share it. `taken` are numbers that guests had before a restart
    /// and will have again.
    ///
    /// # Errors
    /// See [`SharedError`].
    pub fn start(
        name: &str,
        source: &Specification,
        bandwidth: Bandwidth,
        groups: &[GroupOf<'_>],
        taken: &[ClassId],
    ) -> Result<Self, SharedError> {
        let state = State::new(name, bandwidth, groups, taken)?;
        let bell = Waker::new().map_err(SharedError::Waker)?;
        let source = source.open(bell.clone())?;
        let closed = AtomicBool::new(false);
        let (state, source) = (Mutex::new(state), Mutex::new(source));
        let common = Arc::new(Common { state, source, bell, closed });
        let threads_own = Arc::clone(&common);
        let thread = thread::Builder::new().name("shared source".into());
        let thread = thread.spawn(move || {
            SHARED_SOURCE.enter();
            threads_own.run();
        });
        let thread = thread.map_err(SourceError::Worker)?;
        Ok(SharedSource { name: name.into(), common, thread: Some(thread) })
    }

    /// A guest's part below the class of that name; it has nothing until it joins.
    pub fn share(&self, parent: &str, guest: &str, bandwidth: Bandwidth) -> Arc<Share> {
        Arc::new(Share::new(Arc::clone(&self.common), parent, guest, bandwidth))
    }

    /// Opens a source that can take the present one's place.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(&self, source: &Specification) -> Result<Box<dyn Source>, SourceError> {
        source.open(self.common.bell.clone())
    }

    /// Reads another source from now on, also for requests that wait. What the one before has
    /// left over is for no guest any more. Returns the one before, which can take a moment to close.
    pub fn set_source(&self, source: Box<dyn Source>) -> Box<dyn Source> {
        let before = std::mem::replace(&mut *self.common.source(), source);
        self.common.state().surplus.clear();
        self.common.bell.wake();
        before
    }

    /// What the health tests of the source have found, if it has any.
    pub fn health(&self) -> Option<HealthReport> {
        self.common.source().health()
    }

    /// The source and its groups, by their names.
    pub fn classes(&self) -> BTreeMap<String, ClassState> {
        let state = self.common.state();
        let mut promised: HashMap<ClassId, u64> = HashMap::new();
        for leaf in state.leaves.values() {
            *promised.entry(leaf.parent).or_default() += leaf.bandwidth.floor.unwrap_or(0);
        }
        for group in state.classes.values() {
            if let Some(above) = group.parent.as_ref().and_then(|name| state.classes.get(name)) {
                *promised.entry(above.id).or_default() += group.bandwidth.floor.unwrap_or(0);
            }
        }
        let class = |class: &Class| ClassState {
            id: class.id,
            bandwidth: class.bandwidth,
            promised: promised.get(&class.id).copied().unwrap_or(0),
        };
        state.classes.iter().map(|(name, found)| (name.clone(), class(found))).collect()
    }
}

impl Drop for SharedSource {
    fn drop(&mut self) {
        self.common.closed.store(true, Ordering::Release);
        self.common.bell.wake();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of a shared source panicked");
        }
    }
}

impl State {
    fn new(
        name: &str,
        bandwidth: Bandwidth,
        groups: &[GroupOf<'_>],
        taken: &[ClassId],
    ) -> Result<Self, SharedError> {
        let mut class_ids = ClassIdAllocator::default();
        for id in taken {
            class_ids.reserve(*id)?;
        }
        let (id, now) = (class_ids.allocate()?, Instant::now());
        let tree = Tree::new(id, name, bandwidth, now)?;
        let mut state = State {
            tree,
            class_ids,
            classes: BTreeMap::from([(name.to_owned(), Class { id, parent: None, bandwidth })]),
            retired: Vec::new(),
            leaves: HashMap::new(),
            surplus: VecDeque::new(),
        };
        groups.iter().try_for_each(|group| state.add_group(group, now))?;
        Ok(state)
    }

    fn add_group(&mut self, group: &GroupOf<'_>, now: Instant) -> Result<(), SharedError> {
        let GroupOf { name, parent, bandwidth } = *group;
        let (above, id) = (self.class(parent)?, self.class_ids.allocate()?);
        if let Err(error) = self.tree.add(above, id, name, bandwidth, now) {
            self.class_ids.release(id);
            return Err(error.into());
        }
        self.classes.insert(name.into(), Class { id, parent: Some(parent.into()), bandwidth });
        Ok(())
    }

    /// Removes those retired groups in which nothing is any more.
    fn remove_retired(&mut self, now: Instant) {
        let mut before = usize::MAX;
        while self.retired.len() < before {
            before = self.retired.len();
            self.retired.retain(|id| match self.tree.remove(*id, now) {
                Ok(()) => {
                    self.class_ids.release(*id);
                    false
                }
                Err(_) => true,
            });
        }
    }

    fn class(&self, name: &str) -> Result<ClassId, SharedError> {
        let class = self.classes.get(name);
        class.map(|class| class.id).ok_or_else(|| SharedError::NoSuchClass(name.to_owned()))
    }

    /// Gives bytes to the guest that they were read for, or keeps them for others.
    fn deliver(&mut self, class: ClassId, bytes: &[u8]) {
        self.tree.charge(class, bytes.len() as u64, Instant::now());
        match self.leaves.get_mut(&class) {
            Some(leaf) => {
                leaf.bytes.extend(bytes);
                leaf.waker.wake();
            }
            None => self.surplus.extend(bytes),
        }
    }
}

impl Common {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: reads for the guest that the tree selects.
    fn run(&self) {
        let mut buffer = Vec::new();
        while !self.closed.load(Ordering::Acquire) {
            // The bytes may come much later, when the tree selects another guest. The source then
            // still has them.
            let next = self.state().tree.next(Instant::now());
            let wait = match next {
                Next::Idle => None,
                Next::From(then) => Some(then.saturating_duration_since(Instant::now())),
                Next::Grant { class, bytes } => {
                    buffer.resize(usize::try_from(bytes).unwrap_or(0).max(1), 0);
                    match self.read(&mut buffer) {
                        ReadOutcome::Bytes(count) => {
                            let bytes = buffer.get(..count).unwrap_or_default();
                            self.state().deliver(class, bytes);
                            continue;
                        }
                        ReadOutcome::Pending => None,
                        ReadOutcome::RetryAfter(time) => Some(time),
                    }
                }
            };
            self.wait(wait);
        }
    }

    /// Takes bytes of a guest that has left, or else reads the source.
    fn read(&self, buffer: &mut [u8]) -> ReadOutcome {
        let left_over = self.state().surplus.read(buffer);
        match left_over {
            Ok(count @ 1..) => ReadOutcome::Bytes(count),
            _ => self.source().read(buffer),
        }
    }

    fn source(&self) -> MutexGuard<'_, Box<dyn Source>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the bell, or until the time is over.
    fn wait(&self, time: Option<Duration>) {
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        let mut fds = [PollFd::from_borrowed_fd(self.bell.as_fd(), PollFlags::IN)];
        // What interrupts it makes the caller look at everything again, which is right.
        let _ = poll(&mut fds, time.as_ref());
        let _ = rustix::io::read(&self.bell, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests;
