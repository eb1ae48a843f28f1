//! Memory of the device that the guest maps: the mappable parts of a BAR.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fstat, ftruncate, memfd_create};

use crate::memory::MappedFile;
use crate::protocol::wire::DmaMapFlags;

/// The pages behind a BAR's mappable parts. Their contents change at any moment: copy, then look.
#[derive(Debug)]
pub struct SharedMemory {
    file: OwnedFd,
    mapping: MappedFile,
}

impl SharedMemory {
    pub(crate) fn new(size: u64) -> std::io::Result<Self> {
        let file = memfd_create("bar", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&file, size)?;
        // A client gets this file: its size is ours to decide.
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let mapping = MappedFile::new(file.as_fd(), 0, size, DmaMapFlags::all())?;
        Ok(SharedMemory { file, mapping })
    }

    /// Takes the file of another process in place of its own: the guest has mapped that one.
    ///
    /// # Errors
    /// It has another size, or cannot be mapped.
    pub(crate) fn replace(&mut self, file: OwnedFd) -> std::io::Result<()> {
        let size = self.len() as u64;
        if u64::try_from(fstat(&file)?.st_size) != Ok(size) {
            let what = format!("the memory of a BAR of {size} bytes has another size");
            return Err(std::io::Error::other(what));
        }
        let mapping = MappedFile::new(file.as_fd(), 0, size, DmaMapFlags::all())?;
        *self = SharedMemory { file, mapping };
        Ok(())
    }

    /// Size in bytes.
    pub(crate) fn len(&self) -> usize {
        self.mapping.len()
    }

    /// Copies bytes out, from an offset in the BAR on. Bytes past its end are 0.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) {
        let copied = usize::try_from(offset).map(|offset| self.mapping.read(offset, buffer));
        if !matches!(copied, Ok(Ok(()))) {
            buffer.fill(0);
        }
    }

    /// Copies bytes in, from an offset in the BAR on. Bytes past its end are dropped.
    pub fn write(&self, offset: u64, data: &[u8]) {
        if let Ok(offset) = usize::try_from(offset) {
            let length = data.len().min(self.mapping.len().saturating_sub(offset));
            let data = data.get(..length).unwrap_or_default();
            // Sealed and within bounds: there is nothing that could fail.
            let _ = self.mapping.write(offset, data);
        }
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
