//! Random accesses to a device, the same for the same number.

/// What an access goes to: BAR 0, which is memory, or BAR 1, which is I/O ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Memory,
    Ports,
}

/// An access of a processor.
#[derive(Clone, Debug)]
pub struct Access {
    pub kind: Kind,
    pub offset: u64,
    /// Bytes: 1, 2, 4, or 8 for memory.
    pub size: u64,
    /// What is written, or nothing for a read.
    pub value: Option<u64>,
}

impl Access {
    /// The bytes that a write has at a place of the BAR become what a function makes of them.
    pub fn change(&mut self, place: u64, change: impl Fn(u8) -> u8) {
        let covered = self.offset..self.offset + self.size;
        let Some(value) = self.value.as_mut().filter(|_| covered.contains(&place)) else { return };
        let mut bytes = value.to_le_bytes();
        let byte = &mut bytes[usize::try_from(place - self.offset).expect("it is small")];
        *byte = change(*byte);
        *value = u64::from_le_bytes(bytes);
    }
}

/// What is known of a device's BAR.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    pub kind: Kind,
    pub size: u64,
    /// Places around which something happens.
    pub registers: &'static [u64],
}

/// Numbers that look random (SplitMix64, Steele, Lea and Flood 2014).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// So many accesses of a sequence: three of four are near a register, half of all are writes.
pub fn sequence(number: u64, count: usize, bars: &[Bar]) -> Vec<Access> {
    let mut numbers = Numbers(number);
    (0..count).map(|_| access(&mut numbers, bars)).collect()
}

fn access(numbers: &mut Numbers, bars: &[Bar]) -> Access {
    let pick = |numbers: &mut Numbers, count: usize| {
        usize::try_from(numbers.below(count as u64)).expect("it is below a usize")
    };
    let bar = bars[pick(numbers, bars.len())];
    let size = 1 << numbers.below(if bar.kind == Kind::Memory { 4 } else { 3 });
    let place = if numbers.below(4) > 0 {
        // Before it, at it, or behind it.
        (bar.registers[pick(numbers, bar.registers.len())] + numbers.below(12)).saturating_sub(6)
    } else {
        numbers.below(bar.size)
    };
    // Registers are met more often at their own sizes. A misaligned access to ports reads as 0 in QEMU
    // 11, whatever device is there; QEMU 10 takes it apart.
    let aligned = bar.kind == Kind::Ports || numbers.below(2) == 0;
    let place = if aligned { place / size * size } else { place };
    let offset = place.min(bar.size - size);
    let is_write = numbers.below(2) == 0;
    let value = numbers.next() >> (64 - 8 * size);
    // Small values select tests, bits and numbers.
    let value = if numbers.below(2) == 0 { value % 8 } else { value };
    Access { kind: bar.kind, offset, size, value: is_write.then_some(value) }
}
