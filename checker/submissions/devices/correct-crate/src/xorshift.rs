//! Marsaglia's generator of 32 bits.

pub struct Xorshift(u32);

impl Xorshift {
    pub fn new(seed: u32) -> Self {
        // From zero it would never get away.
        Self(seed ^ 0x9e37_79b9).never_zero()
    }

    fn never_zero(self) -> Self {
        if self.0 == 0 { Self(1) } else { self }
    }

    pub fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}
