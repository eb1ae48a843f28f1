//! Accesses to guest memory that are done at once, because the client shares it.

use std::sync::atomic::{Ordering, fence};

use super::completion::DmaError;
use super::space::DmaSpace;
use crate::protocol::wire::{Command, DmaMapFlags};

impl DmaSpace {
    /// Copies guest memory out.
    pub fn read_now(&self, address: u64, data: &mut [u8]) -> Result<(), DmaError> {
        // A guest on another processor sees accesses in their order.
        fence(Ordering::SeqCst);
        let (mut rest, mut next) = (data, Some(address));
        while !rest.is_empty() {
            let address = next.ok_or(DmaError::NotMapped { address: 0 })?;
            let (file, offset, count) = self.file(address, rest.len(), DmaMapFlags::READ)?;
            let (piece, tail) = rest.split_at_mut(count);
            match &self.replayed {
                Some(memory) => memory.read(address, piece),
                None => file.read(offset, piece).map_err(|_| DmaError::Truncated { address })?,
            }
            self.recorder.memory(Command::DmaRead, address, piece);
            (rest, next) = (tail, address.checked_add(count as u64));
        }
        Ok(())
    }

    /// Copies into guest memory.
    pub fn write_now(&self, address: u64, data: &[u8]) -> Result<(), DmaError> {
        fence(Ordering::Release);
        let (mut rest, mut next) = (data, Some(address));
        while !rest.is_empty() {
            let address = next.ok_or(DmaError::NotMapped { address: 0 })?;
            let (file, offset, count) = self.file(address, rest.len(), DmaMapFlags::WRITE)?;
            let (piece, tail) = rest.split_at(count);
            self.log_write(address, count);
            match &self.replayed {
                Some(memory) => memory.write(address, piece),
                None => file.write(offset, piece).map_err(|_| DmaError::Truncated { address })?,
            }
            self.recorder.memory(Command::DmaWrite, address, piece);
            (rest, next) = (tail, address.checked_add(count as u64));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    fn memory(size: u64) -> Option<(OwnedFd, u64)> {
        let file: OwnedFd = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, size).unwrap();
        Some((file, 0))
    }

    #[test]
    fn neighbouring_regions_are_one_memory() {
        let mut space = DmaSpace::default();
        space.map(0x1000, 0x1000, DmaMapFlags::all(), memory(0x1000)).unwrap();
        space.map(0x2000, 0x1000, DmaMapFlags::all(), memory(0x1000)).unwrap();
        space.write_now(0x1ffe, &[1, 2, 3, 4]).unwrap();
        let mut data = [0; 6];
        space.read_now(0x1ffd, &mut data).unwrap();
        assert_eq!(data, [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn an_access_fails_at_its_first_wrong_address() {
        let mut space = DmaSpace::default();
        space.map(0x1000, 0x1000, DmaMapFlags::READ, memory(0x1000)).unwrap();
        space.map(0x2000, 0x1000, DmaMapFlags::all(), None).unwrap();
        let mut data = [0; 0x1001];
        let not_shared = Err(DmaError::NotShared { address: 0x2000 });
        assert_eq!(space.read_now(0x1000, &mut data), not_shared);
        assert_eq!(space.read_now(0xfff, &mut data), Err(DmaError::NotMapped { address: 0xfff }));
        let read_only = Err(DmaError::NotPermitted { address: 0x1800 });
        assert_eq!(space.write_now(0x1800, &data), read_only);
        let end = space.read_now(u64::MAX, &mut data);
        assert_eq!(end, Err(DmaError::NotMapped { address: u64::MAX }));
        assert_eq!(space.read_now(0x1000, &mut []), Ok(()));
    }
}
