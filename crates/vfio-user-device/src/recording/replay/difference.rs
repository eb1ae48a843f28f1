//! What is not as it was recorded, in words.

/// Something that is not as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which event of the file.
    pub index: usize,
    /// What was recorded.
    pub recorded: String,
    /// What the device did now.
    pub replayed: String,
}

/// Why a replay goes no further.
pub(crate) enum Stop {
    Difference(Difference),
    Stopped(String),
}

pub(super) fn difference(index: usize, recorded: String, replayed: String) -> Stop {
    Stop::Difference(Difference { index, recorded, replayed })
}

/// Bytes as a number, or as they are where there are many.
pub(super) fn value(bytes: &[u8]) -> String {
    let mut number = [0; 8];
    match number.get_mut(..bytes.len()) {
        Some(low) if !bytes.is_empty() => {
            low.copy_from_slice(bytes);
            format!("{:#x}", u64::from_le_bytes(number))
        }
        _ => bytes
            .iter()
            .fold(format!("{} bytes", bytes.len()), |text, byte| format!("{text} {byte:02x}")),
    }
}
