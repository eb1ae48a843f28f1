//! What is wrong with a profile that TOML finds right.

use super::bus_master::MAX_BYTES;
use super::{
    Interrupt, InterruptKind, Ioctl, Profile, Register, RegisterKind, SeedReads, Transfer,
};
use crate::checks;

/// The highest vector that the checker's module can count.
const MAX_VECTOR: u16 = 31;

impl Profile {
    /// All that is wrong with it, in sentences.
    pub(super) fn mistakes(&self) -> Vec<String> {
        let mut mistakes: Vec<String> = Vec::new();
        self.registers.iter().for_each(|register| self.register_mistakes(register, &mut mistakes));
        let needed = [self.random_register().map(drop), self.seed_register().map(drop)];
        mistakes.extend(needed.into_iter().filter_map(|one| Some(format!("{:#}", one.err()?))));
        for high in self.registers.iter().filter(|one| one.kind == RegisterKind::HighHalf) {
            mistakes.extend(self.low_half_of(high).err().map(|error| format!("{error:#}")));
        }
        self.ioctls.iter().for_each(|ioctl| self.ioctl_mistakes(ioctl, &mut mistakes));
        self.interrupts
            .iter()
            .for_each(|interrupt| self.interrupt_mistakes(interrupt, &mut mistakes));
        self.transfers.iter().for_each(|transfer| self.transfer_mistakes(transfer, &mut mistakes));
        let known = checks::ids(self);
        for id in self.points.keys().filter(|id| !known.contains(id)) {
            mistakes.push(format!(
                "[points] {id}: no such check; expected one of {}",
                known.join(", ")
            ));
        }
        mistakes
    }

    /// That there is no register of a name which something has.
    fn missing(&self, what: &str, register: &str) -> Option<String> {
        self.register(register).err().map(|error| format!("{what}: {error:#}"))
    }

    fn register_mistakes(&self, register: &Register, mistakes: &mut Vec<String>) {
        let Register { name, offset, width, .. } = register;
        if !matches!(width, 1 | 2 | 4 | 8) || offset % width != 0 {
            mistakes.push(format!(
                "register {name}: a width of 1, 2, 4 or 8 bytes at a multiple of it is needed"
            ));
        }
        let clears = register.kind == RegisterKind::WriteOneToClear;
        match &register.set_by {
            None if clears => mistakes.push(format!(
                "register {name}: what sets the bits that a write clears? set-by = {{ register = \
                 \"NAME\", value = 1 }} says it"
            )),
            Some(_) if !clears => mistakes
                .push(format!("register {name}: only one of kind write-one-to-clear has `set-by`")),
            Some(by) => {
                mistakes.extend(self.missing(&format!("register {name}: set-by"), &by.register));
            }
            None => {}
        }
        if register.range().end > self.device.bar_size {
            mistakes.push(format!("register {name} at {offset:#x} is beyond the BAR's end"));
        }
        if register.kind != RegisterKind::Seed && register.reads != SeedReads::Unspecified {
            mistakes.push(format!("register {name}: only one of kind seed has `reads`"));
        }
        let overlaps = |other: &&Register| {
            other.offset < register.range().end && register.offset < other.range().end
        };
        if self.registers.iter().filter(overlaps).count() > 1 {
            mistakes.push(format!("register {name} at {offset:#x} overlaps another one"));
        }
    }

    fn ioctl_mistakes(&self, ioctl: &Ioctl, mistakes: &mut Vec<String>) {
        let Ioctl { name, number, size, registers, .. } = ioctl;
        for register in registers {
            mistakes.extend(self.missing(&format!("ioctl {name}"), register));
        }
        let encoded = usize::try_from(number >> 16 & 0x3fff).unwrap_or_default();
        if registers.is_empty() || !matches!(size, 4 | 8) || encoded != *size {
            mistakes.push(format!(
                "ioctl {name}: a size of 4 or 8 that {number:#x} has in it ({encoded}), and at least \
                 one register are needed"
            ));
        }
    }

    fn interrupt_mistakes(&self, interrupt: &Interrupt, mistakes: &mut Vec<String>) {
        let Interrupt { name, kind, vector, raised_by, acknowledged_by } = interrupt;
        for (word, write) in [("raised-by", raised_by), ("acknowledged-by", acknowledged_by)] {
            mistakes.extend(self.missing(&format!("interrupt {name}: {word}"), &write.register));
        }
        let messages = matches!(kind, InterruptKind::Msi | InterruptKind::MsiX);
        if *vector != 0 && !messages || *vector > MAX_VECTOR {
            mistakes.push(format!(
                "interrupt {name}: invalid vector {vector}: up to {MAX_VECTOR}, with kind = \"msi\" \
                 or \"msi-x\""
            ));
        }
    }

    fn transfer_mistakes(&self, transfer: &Transfer, mistakes: &mut Vec<String>) {
        let Transfer { name, destination, source, bytes, .. } = transfer;
        for (word, register) in transfer.registers() {
            mistakes.extend(self.missing(&format!("dma {name}: {word}"), register));
        }
        if !matches!(destination.len(), 1 | 2) || source.len() > 2 {
            mistakes.push(format!(
                "dma {name}: an address has one register, or two with the low half first"
            ));
        }
        if *bytes == 0 || bytes % 8 != 0 || *bytes > MAX_BYTES {
            mistakes.push(format!(
                "dma {name}: invalid bytes {bytes}: a multiple of 8 up to {MAX_BYTES}"
            ));
        }
    }
}
