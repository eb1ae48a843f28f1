//! A guest's part of a shared source.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use vfio_user_kit::Waker;

use super::{Common, Leaf, SharedError};
use crate::bandwidth::{Bandwidth, ClassId};
use crate::source::{Drawn, Source, SourceError, Supplier};

/// A guest's part of a shared source.
pub struct Share {
    common: Arc<Common>,
    pub(super) parent: String,
    pub(super) guest: String,
    seat: Mutex<Seat>,
}

/// What of it changes.
pub(super) struct Seat {
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
        let seat = Mutex::new(Seat { bandwidth, class: None, waker: None });
        Share { common, parent: parent.into(), guest: guest.into(), seat }
    }

    pub(super) fn seat(&self) -> MutexGuard<'_, Seat> {
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The seat, unless it is being changed.
    #[cfg(test)]
    pub(super) fn try_seat(&self) -> Option<MutexGuard<'_, Seat>> {
        self.seat.try_lock().ok()
    }

    /// Its class, while the guest is connected.
    pub fn class(&self) -> Option<ClassId> {
        self.seat().class
    }

    /// What it was given by the configuration.
    pub fn bandwidth(&self) -> Bandwidth {
        self.seat().bandwidth
    }

    /// Becomes a class of the tree, with a number that it had before or else the lowest free one.
    ///
    /// # Errors
    /// [`SharedError::Admission`] if its floor does not fit any more, with the numbers.
    pub fn join(&self, before: Option<ClassId>) -> Result<ClassId, SharedError> {
        let mut seat = self.seat();
        let mut state = self.common.state();
        let parent = state.class(&self.parent)?;
        let id = match before {
            Some(id) => id,
            None => state.identifiers.take()?,
        };
        let added = state.tree.add(parent, id, &self.guest, seat.bandwidth, Instant::now());
        if let Err(error) = added {
            if before.is_none() {
                state.identifiers.give_back(id);
            }
            return Err(error.into());
        }
        let waker = match &seat.waker {
            Some(waker) => waker.clone(),
            None => Waker::new().map_err(SharedError::Waker)?,
        };
        let bandwidth = seat.bandwidth;
        state.leaves.insert(id, Leaf { parent, bandwidth, bytes: VecDeque::new(), waker });
        seat.class = Some(id);
        Ok(id)
    }

    /// Leaves the tree. Its number is free again, unless it is to be kept.
    pub fn leave(&self, keep_number: bool) {
        // Both are held until it is done: in between, the tree would have a class without a guest.
        let mut seat = self.seat();
        let Some(id) = seat.class.take() else { return };
        let mut state = self.common.state();
        if let Err(error) = state.tree.remove(id, Instant::now()) {
            log::error!("{}: {error}", self.guest);
        }
        if let Some(leaf) = state.leaves.remove(&id) {
            state.surplus.extend(leaf.bytes);
        }
        if !keep_number {
            state.identifiers.give_back(id);
        }
        state.remove_retired(Instant::now());
        drop((state, seat));
        self.common.bell.wake();
    }

    /// Makes a number free again that was taken for this guest when the source was opened.
    pub fn release(&self, number: ClassId) {
        self.common.state().identifiers.give_back(number);
    }
}

impl Supplier for Arc<Share> {
    fn open(&self, waker: Waker) -> Result<Box<dyn Source>, SourceError> {
        self.seat().waker = Some(waker);
        Ok(Box::new(ShareSource(Arc::clone(self))))
    }
}

/// What a device draws from.
struct ShareSource(Arc<Share>);

impl Source for ShareSource {
    fn draw(&mut self, buffer: &mut [u8]) -> Drawn {
        let Some(class) = self.0.class() else { return Drawn::WhenWoken };
        let mut state = self.0.common.state();
        let taken = state.leaves.get_mut(&class).map(|leaf| leaf.bytes.read(buffer));
        let now = Instant::now();
        if let Some(Ok(count @ 1..)) = taken {
            // The request was answered, if with less than it asked for.
            state.tree.request(class, 0, now);
            return Drawn::Bytes(count);
        }
        state.tree.request(class, buffer.len() as u64, now);
        drop(state);
        self.0.common.bell.wake();
        Drawn::WhenWoken
    }
}
