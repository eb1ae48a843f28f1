//! Registers and accesses in words, for logs and error messages.

use std::fmt;

use crate::access::{Access, Width};
use crate::pci::config::{Bar, Register};

/// What an access is for: "RANDOM", "RANDOM+2", or "BAR0+0x10" where no register has been named.
pub(crate) struct RegisterName<'bar> {
    pub access: Access,
    pub bar: Option<&'bar Bar>,
}

impl fmt::Display for RegisterName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access { bar, offset, .. } = self.access;
        match self.bar.and_then(|bar| register_at(bar, offset)) {
            Some(register) if register.offset == offset => f.write_str(register.name),
            Some(register) => write!(f, "{}+{}", register.name, offset - register.offset),
            None => write!(f, "BAR{bar}+{offset:#x}"),
        }
    }
}

/// Why an access fits no register of a BAR. A BAR without named registers fits everything. So does an
/// area that has none of the widths of an access, and a register of 8 bytes fits its halves, which are
/// all that a 32-bit driver knows.
pub(crate) fn mismatch(bar: &Bar, access: Access) -> Option<String> {
    if bar.registers.is_empty() {
        return None;
    }
    let Some(register) = register_at(bar, access.offset) else {
        return Some("there is no register".into());
    };
    let width = access.width.bytes() as u64;
    let inside = access.offset - register.offset;
    let fits = inside + width <= register.size;
    let parts = !matches!(register.size, 1 | 2 | 4 | 8)
        || (register.size == 8 && access.width == Width::Dword);
    if fits && (parts || width == register.size) {
        return None;
    }
    Some(match (inside, fits) {
        (0, true) => format!("narrower than {register}"),
        (0, false) => format!("wider than {register}"),
        _ => format!("inside {register}"),
    })
}

fn register_at(bar: &Bar, offset: u64) -> Option<&Register> {
    bar.registers.iter().find(|register| register.range().contains(&offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar() -> Bar {
        Bar::memory32(4096).max_access_width(Width::Qword).registers(&[
            Register::new("ID", 0x0, 4),
            Register::new("SEED", 0x4, 4),
            Register::new("FLAG", 0x8, 1),
            Register::new("ADDRESS", 0x10, 8),
            Register::new("BUFFER", 0x40, 0x30),
        ])
    }

    fn access(offset: u64, width: Width) -> Access {
        Access { bar: 0, offset, width }
    }

    #[test]
    fn accesses_of_a_registers_own_width_fit() {
        use Width::{Byte, Dword, Qword, Word};
        let bar = bar();
        let fitting = [
            (0x0, Dword),
            (0x4, Dword),
            (0x8, Byte),
            (0x10, Qword),
            (0x10, Dword),
            (0x14, Dword),
            (0x40, Qword),
            (0x6e, Word),
        ];
        for (offset, width) in fitting {
            assert_eq!(mismatch(&bar, access(offset, width)), None, "{offset:#x} {width}");
        }
        assert_eq!(mismatch(&Bar::memory32(16), access(4, Byte)), None, "no names, no rules");
    }

    #[test]
    fn others_are_told_what_is_there() {
        use Width::{Byte, Dword, Qword, Word};
        let told = [
            (0x5, Byte, "inside SEED (4 bytes at 0x4)"),
            (0x6, Word, "inside SEED (4 bytes at 0x4)"),
            (0x4, Word, "narrower than SEED (4 bytes at 0x4)"),
            (0x0, Qword, "wider than ID (4 bytes at 0x0)"),
            (0x8, Dword, "wider than FLAG (1 byte at 0x8)"),
            (0x12, Word, "inside ADDRESS (8 bytes at 0x10)"),
            (0x10, Byte, "narrower than ADDRESS (8 bytes at 0x10)"),
            (0x20, Dword, "there is no register"),
        ];
        let bar = bar();
        for (offset, width, text) in told {
            assert_eq!(mismatch(&bar, access(offset, width)).as_deref(), Some(text));
        }
    }

    #[test]
    fn accesses_are_named_by_their_register() {
        let bar = bar();
        let name = |offset| {
            RegisterName { access: access(offset, Width::Byte), bar: Some(&bar) }.to_string()
        };
        assert_eq!([name(4), name(6), name(0x20)], ["SEED", "SEED+2", "BAR0+0x20"]);
    }
}
