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

/// All vectors of one kind.
#[derive(Debug, Default)]
pub(super) struct Messages {
    vectors: Vec<Vector>,
}

impl Messages {
    pub fn new(vectors: u16) -> Self {
        Messages { vectors: (0..vectors).map(|_| Vector::default()).collect() }
    }

    pub fn count(&self) -> usize {
        self.vectors.len()
    }

    /// Whether the client has assigned an eventfd to one of them.
    pub fn any_assigned(&self) -> bool {
        self.vectors.iter().any(|vector| vector.eventfd.is_some())
    }

    /// A vector is to be signalled as soon as [`Messages::fire`] may.
    pub fn raise(&mut self, number: usize) {
        if let Some(vector) = self.vectors.get_mut(number) {
            vector.pending = true;
        }
    }

    /// Signals what is pending, but for the vectors that a mask of PCI holds back.
    pub fn fire(&mut self, held_back: impl Fn(usize) -> bool) {
        for (number, vector) in self.vectors.iter_mut().enumerate() {
            if vector.pending && !vector.masked && !held_back(number) {
                if let Some(eventfd) = &vector.eventfd {
                    vector.pending = false;
                    eventfd.signal();
                }
            }
        }
    }

    /// Forgets what is pending.
    pub fn clear(&mut self) {
        self.vectors.iter_mut().for_each(|vector| vector.pending = false);
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
    }
}
