//! Accesses to guest memory that are done at once, because the client shares it.

use std::sync::atomic::{Ordering, fence};

use super::completion::DmaError;
use super::cursor::Buffer;
use super::space::DmaSpace;

impl DmaSpace {
    /// Copies guest memory out or in. Files are used while nothing tells yet whether the guest's writes
    /// show in them: the client cannot be asked without waiting.
    pub fn access_now(&self, address: u64, mut buffer: Buffer<'_>) -> Result<(), DmaError> {
        if matches!(buffer, Buffer::Read(_)) {
            // A guest on another processor sees accesses in their order.
            fence(Ordering::SeqCst);
        }
        let mut done = 0;
        while done < buffer.len() {
            let address = address.checked_add(done as u64);
            let address = address.ok_or(DmaError::NotMapped { address: 0 })?;
            let left = buffer.len() - done;
            let (place, count) = self.locate(address, left, buffer.permission())?;
            let place = place.ok_or(DmaError::NotShared { address })?;
            buffer.transfer(self, (done, count), address, place)?;
            done += count;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;
    use crate::protocol::wire::DmaMapFlags;

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
        space.access_now(0x1ffe, Buffer::Write(&[1, 2, 3, 4])).unwrap();
        let mut data = [0; 6];
        space.access_now(0x1ffd, Buffer::Read(&mut data)).unwrap();
        assert_eq!(data, [0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn an_access_fails_at_its_first_wrong_address() {
        let mut space = DmaSpace::default();
        space.map(0x1000, 0x1000, DmaMapFlags::READ, memory(0x1000)).unwrap();
        space.map(0x2000, 0x1000, DmaMapFlags::all(), None).unwrap();
        let mut data = [0; 0x1001];
        let not_shared = Err(DmaError::NotShared { address: 0x2000 });
        assert_eq!(space.access_now(0x1000, Buffer::Read(&mut data)), not_shared);
        assert_eq!(
            space.access_now(0xfff, Buffer::Read(&mut data)),
            Err(DmaError::NotMapped { address: 0xfff })
        );
        let read_only = Err(DmaError::NotPermitted { address: 0x1800 });
        assert_eq!(space.access_now(0x1800, Buffer::Write(&data)), read_only);
        let end = space.access_now(u64::MAX, Buffer::Read(&mut data));
        assert_eq!(end, Err(DmaError::NotMapped { address: u64::MAX }));
        assert_eq!(space.access_now(0x1000, Buffer::Read(&mut [])), Ok(()));
    }
}
