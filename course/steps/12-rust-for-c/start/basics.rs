//! Rust for C programmers: four small functions.

/// The low bytes of a value: one byte for width 1, two for 2, all four for any other.
pub fn low_bytes(value: u32, width: usize) -> u32 {
    // TODO
    0
}

/// The name of the register at an offset: RANDOM at 0, SEED at 4, none anywhere else.
pub fn register_name(offset: u64) -> Option<&'static str> {
    // TODO
    None
}

/// Changes the state, and returns it. In C:
///     x ^= x << 13; x ^= x >> 17; x ^= x << 5; return x;
pub fn xorshift(state: &mut u32) -> u32 {
    // TODO
    0
}

/// Gives one number after the other.
pub struct Counter {
    next: u32,
}

impl Counter {
    /// Begins with a number.
    pub fn new(first: u32) -> Self {
        Self { next: first }
    }

    /// The next number; after the largest one comes 0.
    pub fn next(&mut self) -> u32 {
        // TODO
        self.next
    }
}
