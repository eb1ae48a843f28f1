//! Names of the registers at the beginning of PCI configuration space.

/// Name, offset and size of each, as in the PCI specification.
const NAMES: [(&str, u64, u64); 26] = [
    ("VENDOR_ID", 0x00, 2),
    ("DEVICE_ID", 0x02, 2),
    ("COMMAND", 0x04, 2),
    ("STATUS", 0x06, 2),
    ("REVISION_ID", 0x08, 1),
    ("CLASS_CODE", 0x09, 3),
    ("CACHE_LINE_SIZE", 0x0c, 1),
    ("LATENCY_TIMER", 0x0d, 1),
    ("HEADER_TYPE", 0x0e, 1),
    ("BIST", 0x0f, 1),
    ("BAR0", 0x10, 4),
    ("BAR1", 0x14, 4),
    ("BAR2", 0x18, 4),
    ("BAR3", 0x1c, 4),
    ("BAR4", 0x20, 4),
    ("BAR5", 0x24, 4),
    ("CARDBUS_CIS", 0x28, 4),
    ("SUBSYSTEM_VENDOR_ID", 0x2c, 2),
    ("SUBSYSTEM_ID", 0x2e, 2),
    ("ROM_ADDRESS", 0x30, 4),
    ("CAPABILITIES", 0x34, 1),
    ("RESERVED", 0x35, 7),
    ("INTERRUPT_LINE", 0x3c, 1),
    ("INTERRUPT_PIN", 0x3d, 1),
    ("MIN_GNT", 0x3e, 1),
    ("MAX_LAT", 0x3f, 1),
];

/// The name of what is at an offset.
pub fn name(offset: u64) -> String {
    let found = NAMES.iter().find(|(_, start, size)| (*start..start + size).contains(&offset));
    match found {
        Some((name, start, _)) if *start == offset => (*name).to_owned(),
        Some((name, start, _)) => format!("{name}+{}", offset - start),
        None => format!("config+{offset:#x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_the_names_of_the_specification() {
        let names = [0x4, 0x7, 0x10, 0x40, 0x7f].map(name);
        assert_eq!(names, ["COMMAND", "STATUS+1", "BAR0", "config+0x40", "config+0x7f"]);
    }

    #[test]
    fn the_names_leave_no_gap() {
        let mut end = 0;
        for (name, start, size) in NAMES {
            assert_eq!(start, end, "{name}");
            end = start + size;
        }
    }
}
