//! The vectors of MSI or of MSI-X: interrupts with edges, each with an eventfd of its own.

use super::event::EventFd;

/// One vector.
#[derive(Debug, Default)]
struct Vector {
    eventfd: Option<EventFd>,
    /// By the client's MASK.
    masked: bool,
    /// Raised, and not yet with the client.
    pending: bool,
}

/// All vectors of one kind. There may be 2,048: what an interrupt costs depends on none of the
/// others, so that questions about all of them are answered by counts.
#[derive(Debug, Default)]
pub(super) struct Messages {
    vectors: Vec<Vector>,
    /// How many have an eventfd.
    assigned: usize,
    /// How many are pending.
    pending: usize,
}

impl Messages {
    pub fn new(vectors: u16) -> Self {
        let vectors = (0..vectors).map(|_| Vector::default()).collect();
        Messages { vectors, assigned: 0, pending: 0 }
    }

    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Whether the client has assigned an eventfd to one of them.
    pub fn any_assigned(&self) -> bool {
        self.assigned > 0
    }

    /// Signals a vector, or keeps it pending behind a mask: the client's own, or one of PCI, for
    /// which `held_back` is asked.
    pub fn raise(&mut self, number: usize, held_back: impl Fn(usize) -> bool) {
        let Some(vector) = self.vectors.get_mut(number) else { return };
        if !vector.pending {
            vector.pending = true;
            self.pending += 1;
        }
        self.fire_one(number, held_back);
    }

    /// Signals what is pending and is not held back any more.
    pub fn fire(&mut self, held_back: impl Fn(usize) -> bool) {
        for number in 0..self.vectors.len() {
            if self.pending == 0 {
                return;
            }
            self.fire_one(number, &held_back);
        }
    }

    fn fire_one(&mut self, number: usize, held_back: impl Fn(usize) -> bool) {
        let Some(vector) = self.vectors.get_mut(number) else { return };
        if vector.pending && !vector.masked && !held_back(number) {
            if let Some(eventfd) = &vector.eventfd {
                vector.pending = false;
                self.pending -= 1;
                eventfd.signal();
            }
        }
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

    /// Takes all eventfds and masks away, and what is pending.
    pub fn disable(&mut self) {
        self.vectors.iter_mut().for_each(|vector| *vector = Vector::default());
        (self.assigned, self.pending) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use rustix::event::{EventfdFlags, eventfd};

    use super::*;

    const VECTORS: u16 = 2048;

    fn event() -> EventFd {
        EventFd::new(eventfd(0, EventfdFlags::NONBLOCK).unwrap()).unwrap()
    }

    #[test]
    fn an_interrupt_looks_at_no_other_vector() {
        let mut messages = Messages::new(VECTORS);
        (0..usize::from(VECTORS)).for_each(|number| messages.raise(number, |_| true));
        messages.assign(7, Some(event()));
        let asked = Cell::new(0);
        messages.raise(7, |_| {
            asked.set(asked.get() + 1);
            false
        });
        assert!(messages.eventfd(7).unwrap().take());
        assert_eq!(asked.get(), 1);
    }

    #[test]
    fn counts_follow_every_change() {
        let mut messages = Messages::new(VECTORS);
        messages.raise(1, |_| true);
        messages.raise(1, |_| true);
        messages.raise(9, |_| true);
        messages.raise(9999, |_| true);
        messages.assign(1, Some(event()));
        messages.assign(1, Some(event()));
        messages.assign(9999, Some(event()));
        assert_eq!((messages.assigned, messages.pending), (1, 2));
        messages.fire(|_| false);
        assert!(messages.any_assigned() && messages.eventfd(1).unwrap().take());
        assert_eq!((messages.assigned, messages.pending), (1, 1), "the other has no eventfd");
        messages.assign(1, None);
        messages.assign(2, None);
        messages.clear();
        assert_eq!((messages.assigned, messages.pending), (0, 0));
        messages.assign(3, Some(event()));
        messages.raise(4, |_| false);
        messages.disable();
        assert_eq!((messages.assigned, messages.pending), (0, 0));
        messages.raise(4, |_| true);
        messages.assign(4, Some(event()));
        messages.fire(|_| false);
        assert!(messages.eventfd(4).unwrap().take());
    }
}
