//! The vectors of MSI or of MSI-X: interrupts with edges, each with an eventfd of its own.

use serde::{Deserialize, Serialize};

use crate::eventfd::EventFd;
use crate::state::{Descriptors, FdNumber, StateError};

/// One vector.
#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<EventFd>,
    /// By the client's MASK.
    masked: bool,
    /// Raised, and not yet with the client.
    pending: bool,
}

/// A vector that is not as it is at first.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VectorState {
    number: usize,
    eventfd: Option<FdNumber>,
    masked: bool,
    pending: bool,
}

fn no_vector(number: usize) -> StateError {
    StateError::Content(format!("there is no vector {number}"))
}

/// All vectors of one kind. There may be 2,048: what an interrupt costs depends on none of the
/// others, so that questions about all of them are answered by counts.
#[derive(Debug, Default)]
pub(super) struct MsiVectors {
    vectors: Vec<Vector>,
    /// How many have an eventfd.
    assigned: usize,
    /// How many are pending.
    pending: usize,
}

impl MsiVectors {
    pub fn new(vectors: u16) -> Self {
        let vectors = (0..vectors).map(|_| Vector::default()).collect();
        MsiVectors { vectors, assigned: 0, pending: 0 }
    }

    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Whether the client has assigned an eventfd to one of them.
    pub fn any_assigned(&self) -> bool {
        self.assigned > 0
    }

    /// Signals a vector, or keeps it pending behind a mask: the client's own, or one of PCI, for
    /// which `held_back` is asked. Returns whether it was signalled.
    pub fn signal_vector(&mut self, number: usize, held_back: impl Fn(usize) -> bool) -> bool {
        let Some(vector) = self.vectors.get_mut(number) else { return false };
        if !vector.pending {
            vector.pending = true;
            self.pending += 1;
        }
        self.fire_one(number, held_back)
    }

    /// Signals what is pending and is not held back any more, and tells `fired` of each.
    pub fn fire(&mut self, held_back: impl Fn(usize) -> bool, fired: impl Fn(usize)) {
        for number in 0..self.vectors.len() {
            if self.pending == 0 {
                return;
            }
            if self.fire_one(number, &held_back) {
                fired(number);
            }
        }
    }

    fn fire_one(&mut self, number: usize, held_back: impl Fn(usize) -> bool) -> bool {
        let Some(vector) = self.vectors.get_mut(number) else { return false };
        if vector.pending && !vector.masked && !held_back(number) {
            if let Some(eventfd) = &vector.eventfd {
                vector.pending = false;
                self.pending -= 1;
                eventfd.interrupt();
                return true;
            }
        }
        false
    }

    /// Forgets what is pending.
    pub fn clear(&mut self) {
        if self.pending > 0 {
            self.vectors.iter_mut().for_each(|vector| vector.pending = false);
            self.pending = 0;
        }
    }

    /// One bit a vector, from `offset` bytes on.
    pub fn read_pending(&self, offset: usize, data: &mut [u8]) {
        for (position, byte) in (offset..).zip(data) {
            let first = position.saturating_mul(8);
            *byte = self
                .vectors
                .iter()
                .skip(first)
                .take(8)
                .enumerate()
                .fold(0, |bits, (bit, vector)| bits | (u8::from(vector.pending) << bit));
        }
    }

    pub fn assign(&mut self, number: usize, eventfd: Option<EventFd>) {
        if let Some(vector) = self.vectors.get_mut(number) {
            self.assigned -= usize::from(vector.eventfd.is_some());
            self.assigned += usize::from(eventfd.is_some());
            vector.eventfd = eventfd;
        }
    }

    pub fn set_masked(&mut self, number: usize, masked: bool) {
        if let Some(vector) = self.vectors.get_mut(number) {
            vector.masked = masked;
        }
    }

    /// The eventfd of a vector that has one.
    pub fn eventfd(&self, number: usize) -> Option<&EventFd> {
        self.vectors.get(number)?.eventfd.as_ref()
    }

    /// Saves those that are in use.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn save(&self, fds: &mut Descriptors) -> Result<Vec<VectorState>, StateError> {
        let in_use = |vector: &Vector| vector.eventfd.is_some() || vector.masked || vector.pending;
        let vectors = self.vectors.iter().enumerate().filter(|(_, vector)| in_use(vector));
        let saved = vectors.map(|(number, vector)| {
            let eventfd = EventFd::saved(vector.eventfd.as_ref(), fds)?;
            let Vector { masked, pending, .. } = *vector;
            Ok(VectorState { number, eventfd, masked, pending })
        });
        saved.collect()
    }

    /// Takes over those of another device.
    ///
    /// # Errors
    /// There is no such vector, or a descriptor is no eventfd.
    pub fn restore(
        &mut self,
        vectors: Vec<VectorState>,
        fds: &mut Descriptors,
    ) -> Result<(), StateError> {
        self.disable();
        for VectorState { number, eventfd, masked, pending } in vectors {
            let eventfd = EventFd::taken(eventfd, fds)?;
            let vector = self.vectors.get_mut(number).ok_or_else(|| no_vector(number))?;
            *vector = Vector { eventfd, masked, pending };
        }
        self.assigned = self.vectors.iter().filter(|vector| vector.eventfd.is_some()).count();
        self.pending = self.vectors.iter().filter(|vector| vector.pending).count();
        Ok(())
    }

    /// Saves those that are pending, without what is the client's.
    pub fn save_pending(&self) -> Vec<VectorState> {
        let vectors = self.vectors.iter().enumerate().filter(|(_, vector)| vector.pending);
        let saved = vectors.map(|(number, _)| VectorState {
            number,
            eventfd: None,
            masked: false,
            pending: true,
        });
        saved.collect()
    }

    /// Takes over what is pending of another device. Masks and eventfds are this one's client's.
    ///
    /// # Errors
    /// There is no such vector.
    pub fn adopt(&mut self, vectors: &[VectorState]) -> Result<(), StateError> {
        self.clear();
        for state in vectors.iter().filter(|state| state.pending) {
            let vector = self.vectors.get_mut(state.number);
            let vector = vector.ok_or_else(|| no_vector(state.number))?;
            vector.pending = true;
        }
        self.pending = self.vectors.iter().filter(|vector| vector.pending).count();
        Ok(())
    }

    /// Takes all eventfds and masks away, and what is pending.
    pub fn disable(&mut self) {
        self.vectors.iter_mut().for_each(|vector| *vector = Vector::default());
        (self.assigned, self.pending) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const VECTORS: u16 = 2048;

    fn event() -> EventFd {
        EventFd::new().unwrap()
    }

    #[test]
    fn an_interrupt_looks_at_no_other_vector() {
        let mut messages = MsiVectors::new(VECTORS);
        for number in 0..usize::from(VECTORS) {
            messages.signal_vector(number, |_| true);
        }
        messages.assign(7, Some(event()));
        let asked = Cell::new(0);
        messages.signal_vector(7, |_| {
            asked.set(asked.get() + 1);
            false
        });
        assert!(messages.eventfd(7).unwrap().take());
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn counts_follow_every_change() {
        let mut messages = MsiVectors::new(VECTORS);
        messages.signal_vector(1, |_| true);
        messages.signal_vector(1, |_| true);
        messages.signal_vector(9, |_| true);
        messages.signal_vector(9999, |_| true);
        messages.assign(1, Some(event()));
        messages.assign(1, Some(event()));
        messages.assign(9999, Some(event()));
        assert_eq!((messages.assigned, messages.pending), (1, 2));
        messages.fire(|_| false, |_| ());
        assert!(messages.any_assigned() && messages.eventfd(1).unwrap().take());
        assert_eq!((messages.assigned, messages.pending), (1, 1), "the other has no eventfd");
        messages.assign(1, None);
        messages.assign(2, None);
        messages.clear();
        assert_eq!((messages.assigned, messages.pending), (0, 0));
        messages.assign(3, Some(event()));
        messages.signal_vector(4, |_| false);
        messages.disable();
        assert_eq!((messages.assigned, messages.pending), (0, 0));
        messages.signal_vector(4, |_| true);
        messages.assign(4, Some(event()));
        messages.fire(|_| false, |_| ());
        assert!(messages.eventfd(4).unwrap().take());
    }
}
