//! The MSI-X table: where in the guest each vector's message goes.
//!
//! A VFIO client emulates the table itself and tells the server by eventfds and masks what came of
//! it, so the table here is storage that reads back what was written. Its mask bits count only
//! once a client has written them: their power-on value, masked, is one that such a client never
//! changes here.

use serde::{Deserialize, Serialize};

use crate::pci::config::MSIX_ENTRY_SIZE;
use crate::state::{Hex, StateError};

/// Offset of the vector control field in an entry.
const VECTOR_CONTROL: usize = 12;
/// Bit 0 of vector control.
const MASK_BIT: u8 = 1;

/// The table's bytes, and which vectors a driver has masked in it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MsixTable {
    bytes: Hex,
    masked: Vec<bool>,
}

impl MsixTable {
    /// A table at power-on: every vector's mask bit is set.
    pub fn new(vectors: u16) -> Self {
        let mut entry = [0; MSIX_ENTRY_SIZE];
        entry[VECTOR_CONTROL] = MASK_BIT;
        let vectors = usize::from(vectors);
        MsixTable { bytes: Hex(entry.repeat(vectors)), masked: vec![false; vectors] }
    }

    /// Back to power-on.
    pub fn reset(&mut self) {
        *self = MsixTable::new(u16::try_from(self.masked.len()).unwrap_or(0));
    }

    /// Reads from `offset` on; bytes past the table are 0.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        let bytes = self.bytes.0.iter().skip(offset).chain(std::iter::repeat(&0));
        data.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    }

    /// Writes from `offset` on.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        for (position, new) in (offset..).zip(data) {
            let Some(byte) = self.bytes.0.get_mut(position) else {
                return;
            };
            *byte = *new;
            if position % MSIX_ENTRY_SIZE == VECTOR_CONTROL {
                if let Some(masked) = self.masked.get_mut(position / MSIX_ENTRY_SIZE) {
                    *masked = new & MASK_BIT != 0;
                }
            }
        }
    }

    /// Takes over another one's bytes.
    ///
    /// # Errors
    /// It has another size.
    pub fn restore(&mut self, state: &MsixTable) -> Result<(), StateError> {
        let lengths = |table: &MsixTable| (table.bytes.0.len(), table.masked.len());
        if lengths(state) != lengths(self) {
            return Err(StateError::Shape { what: "the MSI-X vectors" });
        }
        self.clone_from(state);
        Ok(())
    }

    /// Whether a driver has masked this vector.
    pub fn masked(&self, vector: usize) -> bool {
        self.masked.get(vector).copied().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mask_bits_count_once_they_are_written() {
        let mut table = MsixTable::new(2);
        let mut control = [0; 4];
        table.read(28, &mut control);
        assert_eq!(control, [1, 0, 0, 0], "masked at power-on, as PCI says");
        assert!(!table.masked(1));
        table.write(28, &[1, 0, 0, 0]);
        assert!(table.masked(1) && !table.masked(0));
        table.write(16, &[0; 16]);
        assert!(!table.masked(1));
        table.write(30, &[0xff; 100]);
        table.reset();
        assert!(!table.masked(1));
    }
}
