//! The tests, byte by byte.

/// Equal bytes in a row that are an alarm: 1 + ⌈40 / 4⌉.
pub const REPETITION_CUTOFF: u32 = 11;

/// Bytes in a window.
const BYTE_WINDOW: u32 = 512;
/// Equal bytes in a window that are an alarm: 1 + CRITBINOM(512, 2⁻⁴, 1 − 2⁻⁴⁰).
pub const BYTE_CUTOFF: u32 = 78;

/// Bits in a window, a whole number of bytes.
const BIT_WINDOW: u32 = 1024;
/// Equal bits in a window that are an alarm: 1 + CRITBINOM(1024, 2^(−1/2), 1 − 2⁻⁴⁰).
pub const BIT_CUTOFF: u32 = 824;

/// What is wrong with a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// A byte comes too often in a row.
    #[error("health test: the byte 0x{0:02x} {REPETITION_CUTOFF} times in a row")]
    Repetition(u8),
    /// A byte comes too often.
    #[error("health test: the byte 0x{0:02x} {BYTE_CUTOFF} times in {BYTE_WINDOW} bytes")]
    Byte(u8),
    /// A bit is too often the same.
    #[error("health test: the bit {0} {BIT_CUTOFF} times in {BIT_WINDOW} bits")]
    Bit(u8),
}

/// The continuous tests of one source.
#[derive(Clone, Debug, Default)]
pub struct HealthMonitor {
    /// The last byte, and how often it came in a row.
    run: (u8, u32),
    bytes: Window,
    bits: Window,
}

/// A window of an adaptive proportion test.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    /// The sample that is counted.
    sample: u8,
    count: u32,
    /// Samples so far, 0 before the first one.
    seen: u32,
}

impl HealthMonitor {
    /// Takes the next byte.
    ///
    /// # Errors
    /// A test fails with it. That test begins anew.
    pub fn test(&mut self, byte: u8) -> Result<(), Alarm> {
        // All tests take the byte, whatever one of them says.
        let results =
            [self.repetition(byte), self.byte_proportion(byte), self.bit_proportion(byte)];
        results.into_iter().collect()
    }

    fn repetition(&mut self, byte: u8) -> Result<(), Alarm> {
        let (last, count) = self.run;
        self.run = if last == byte && count > 0 { (byte, count + 1) } else { (byte, 1) };
        if self.run.1 < REPETITION_CUTOFF {
            return Ok(());
        }
        self.run.1 = 0;
        Err(Alarm::Repetition(byte))
    }

    fn byte_proportion(&mut self, byte: u8) -> Result<(), Alarm> {
        let window = &mut self.bytes;
        if window.seen == 0 {
            window.sample = byte;
        }
        let equal = u32::from(window.sample == byte);
        let failed = window.add(equal, 1, BYTE_WINDOW, BYTE_CUTOFF);
        failed.map_or(Ok(()), |sample| Err(Alarm::Byte(sample)))
    }

    /// The bits of a byte, the highest one first.
    fn bit_proportion(&mut self, byte: u8) -> Result<(), Alarm> {
        let window = &mut self.bits;
        if window.seen == 0 {
            window.sample = byte >> 7;
        }
        let equal = if window.sample == 1 { byte.count_ones() } else { byte.count_zeros() };
        let failed = window.add(equal, u8::BITS, BIT_WINDOW, BIT_CUTOFF);
        failed.map_or(Ok(()), |sample| Err(Alarm::Bit(sample)))
    }
}

impl Window {
    /// Counts so many samples, of which some are the one that is counted. Returns that if it is an
    /// alarm. After an alarm, and after its last sample, the window begins anew.
    fn add(&mut self, equal: u32, samples: u32, length: u32, cutoff: u32) -> Option<u8> {
        self.count += equal;
        self.seen += samples;
        let failed = self.count >= cutoff;
        let sample = self.sample;
        if failed || self.seen >= length {
            *self = Window::default();
        }
        failed.then_some(sample)
    }
}

#[cfg(test)]
mod tests;
