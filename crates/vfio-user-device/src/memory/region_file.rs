//! The client's file behind a region of guest memory, as this process reaches its bytes.
//!
//! A file is mapped, unless the client says that it only can be read and written.
//!
//! To read and write every file that may be truncated, and to map only sealed ones, would make the
//! [handler of SIGBUS](super::sigbus) unnecessary. Measured with files in /dev/shm (Linux 6.18, AMD
//! EPYC, alternating in one run), that has these parts of a mapping's speed:
//!
//! | what | pread(2), pwrite(2) |
//! | --- | --- |
//! | a guest's virtio-rng, 64 bytes a request | 0.96 |
//! | the virtio-rng device alone, 64 KiB a request in pages of 4 KiB | 0.70 (chacha20), 0.93 (getrandom) |
//! | DMA in steps of 64 KiB | 0.32 (read), 0.45 (write) |
//! | 2 bytes, such as an index of a ring | 0.02 |
//!
//! And on processors without fast short string moves, the kernel copies the last bytes of an access
//! one by one: a driver would see half of an index. So both kinds of files are mapped.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::budget::{self, Room, Share};
use super::file_io::FileIo;
use super::mapped::{MappedFile, Truncated};
use crate::protocol::wire::DmaMapFlags;

/// A file whose bytes this process reaches without a message to the client.
#[derive(Debug)]
pub(crate) struct RegionFile {
    access: FileAccess,
    /// The file, and where in it the region starts.
    file: Arc<OwnedFd>,
    offset: u64,
    #[expect(dead_code, reason = "kept as long as the mapping or the descriptor")]
    room: Room,
}

/// How an access is done.
#[derive(Debug)]
enum FileAccess {
    Mapped(MappedFile),
    ByFileIo(FileIo),
}

/// What one client may have of this process.
#[derive(Debug)]
pub(super) struct Shares {
    maps: Share,
    pub files: Share,
    descriptors: Share,
}

impl Default for Shares {
    fn default() -> Self {
        Shares {
            maps: Share::of(&budget::MAPS),
            files: Share::of(&budget::FILES),
            descriptors: Share::of(&budget::DESCRIPTORS),
        }
    }
}

impl RegionFile {
    /// Maps the part of `size` bytes from `offset` of a file on, or keeps the descriptor. `None` if
    /// this process has no room for it, or the file can only be reached by its client.
    ///
    /// # Errors
    /// The file does not have these bytes, or does not allow the access.
    pub(super) fn open(
        (file, offset): (Arc<OwnedFd>, u64),
        size: u64,
        flags: DmaMapFlags,
        shares: &Shares,
    ) -> Result<Option<Self>, Errno> {
        if flags.contains(DmaMapFlags::FILE_IO) && !flags.contains(DmaMapFlags::MMAP) {
            let Some(room) = shares.descriptors.room_for(size) else { return Ok(None) };
            let access = FileIo::new(Arc::clone(&file), offset, size, flags)?;
            let access = access.map(FileAccess::ByFileIo);
            return Ok(access.map(|access| RegionFile { access, file, offset, room }));
        }
        let Some(room) = shares.maps.room_for(size) else { return Ok(None) };
        match MappedFile::new(file.as_fd(), offset, size, flags) {
            // A client that has mapped huge pages privately may have left none for this process.
            Err(Errno::NOMEM) => Ok(None),
            mapped => {
                let access = FileAccess::Mapped(mapped?);
                Ok(Some(RegionFile { access, file, offset, room }))
            }
        }
    }

    /// The file, and where in it the region starts.
    pub(super) fn origin(&self) -> (&Arc<OwnedFd>, u64) {
        (&self.file, self.offset)
    }

    /// Whether the file is read and written, and not mapped.
    pub(super) fn is_by_file_io(&self) -> bool {
        matches!(self.access, FileAccess::ByFileIo(_))
    }

    /// Copies `buffer.len()` bytes from `offset` on out of the file.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Truncated> {
        match &self.access {
            FileAccess::Mapped(file) => file.read(in_mapping(offset)?, buffer),
            FileAccess::ByFileIo(file) => file.read(offset, buffer),
        }
    }

    /// Copies `data` into the file from `offset` on.
    ///
    /// # Errors
    /// [`Truncated`].
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Truncated> {
        match &self.access {
            FileAccess::Mapped(file) => file.write(in_mapping(offset)?, data),
            FileAccess::ByFileIo(file) => file.write(offset, data),
        }
    }
}

/// An offset in a mapping, none of which is larger than an address.
fn in_mapping(offset: u64) -> Result<usize, Truncated> {
    usize::try_from(offset).map_err(|_| Truncated)
}
