//! A guest's share of a shared source, and its membership while it is connected.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vfio_user_device::Waker;

use super::{Common, Leaf, SharedError};
use crate::bandwidth::{Bandwidth, ClassId};
use crate::source::{ReadOutcome, Source, SourceError, SourceFactory};

/// A guest's part of a shared source.
pub struct Share {
    common: Arc<Common>,
    pub(super) parent: String,
    pub(super) guest: String,
    membership: Mutex<Membership>,
}

/// What changes of a share, above all while the guest is connected.
pub(super) struct Membership {
    pub bandwidth: Bandwidth,
    /// While the guest is connected.
    pub class: Option<ClassId>,
    /// The device's.
    waker: Option<Waker>,
}

impl Share {
    /// Nothing of a source yet: a guest's part below the class of that name.
    pub(super) fn new(
        common: Arc<Common>,
        parent: &str,
        guest: &str,
        bandwidth: Bandwidth,
    ) -> Self {
        let membership = Mutex::new(Membership { bandwidth, class: None, waker: None });
        Share { common, parent: parent.into(), guest: guest.into(), membership }
    }

    pub(super) fn membership(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The membership, unless it is locked for a change.
    #[cfg(test)]
    pub(super) fn try_membership(&self) -> Option<MutexGuard<'_, Membership>> {
        self.membership.try_lock().ok()
    }

    /// Its class, while the guest is connected.
    pub fn class(&self) -> Option<ClassId> {
        self.membership().class
    }

    /// What it was given by the configuration.
    pub fn bandwidth(&self) -> Bandwidth {
        self.membership().bandwidth
    }

    /// Becomes a class of the tree, with a number that it had before or else the lowest free one.
    ///
    /// # Errors
    /// [`SharedError::Admission`] if its floor does not fit any more, with the numbers.
    pub fn join(&self, before: Option<ClassId>) -> Result<ClassId, SharedError> {
        let mut membership = self.membership();
        let mut state = self.common.state();
        let parent = state.class(&self.parent)?;
        let id = match before {
            Some(id) => id,
            None => state.class_ids.allocate()?,
        };
        let added = state.tree.add(parent, id, &self.guest, membership.bandwidth, Instant::now());
        if let Err(error) = added {
            if before.is_none() {
                state.class_ids.release(id);
            }
            return Err(error.into());
        }
        let waker = match &membership.waker {
            Some(waker) => waker.clone(),
            None => Waker::new().map_err(SharedError::Waker)?,
        };
        let bandwidth = membership.bandwidth;
        state.leaves.insert(id, Leaf { parent, bandwidth, bytes: VecDeque::new(), waker });
        membership.class = Some(id);
        Ok(id)
    }

    /// Leaves the tree. Its number is free again, unless it is to be kept.
    pub fn leave(&self, keep_number: bool) {
        // Both are held until it is done: in between, the tree would have a class without a guest.
        let mut membership = self.membership();
        let Some(id) = membership.class.take() else { return };
        let mut state = self.common.state();
        if let Err(error) = state.tree.remove(id, Instant::now()) {
            log::error!("{}: {error}", self.guest);
        }
        if let Some(leaf) = state.leaves.remove(&id) {
            state.surplus.extend(leaf.bytes);
        }
        if !keep_number {
            state.class_ids.release(id);
        }
        state.remove_retired(Instant::now());
        drop((state, membership));
        self.common.bell.wake();
    }

    /// Makes a number free again that was taken for this guest when the source was opened.
    pub fn release(&self, number: ClassId) {
        self.common.state().class_ids.release(number);
    }
}

impl SourceFactory for Arc<Share> {
    fn open(&self, waker: Waker) -> Result<Box<dyn Source>, SourceError> {
        self.membership().waker = Some(waker);
        Ok(Box::new(ShareSource(Arc::clone(self))))
    }
}

/// The source that a device reads.
struct ShareSource(Arc<Share>);

impl Source for ShareSource {
    fn read(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        let Some(class) = self.0.class() else { return ReadOutcome::Pending };
        let mut state = self.0.common.state();
        let taken = state.leaves.get_mut(&class).map(|leaf| leaf.bytes.read(buffer));
        let now = Instant::now();
        if let Some(Ok(count @ 1..)) = taken {
            // The request was answered, if with less than it asked for.
            state.tree.request(class, 0, now);
            return ReadOutcome::Bytes(count);
        }
        state.tree.request(class, buffer.len() as u64, now);
        drop(state);
        self.0.common.bell.wake();
        ReadOutcome::Pending
    }
}
