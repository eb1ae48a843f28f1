//! A region of guest memory in a file that cannot be mapped: each access is a system call.
//!
//! The kernel may copy the last bytes of an access one by one. No processor of a guest writes to
//! such memory, because a virtual machine cannot map it either: only its client changes it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{FileType, OFlags, fcntl_getfl, fstat};
use rustix::io::{Errno, pread, pwrite, retry_on_intr};

use super::mapped::{Truncated, check_size};
use super::pages::page_size;
use crate::protocol::wire::DmaMapFlags;

/// A part of a file.
#[derive(Debug)]
pub(crate) struct FileIo {
    file: Arc<OwnedFd>,
    start: u64,
}

impl FileIo {
    /// The part from `offset` on. `None` for what pwrite(2) does not work on: pipes, devices,
    /// huge pages.
    ///
    /// # Errors
    /// EINVAL if the file has fewer than `length` bytes from there on, EACCES if the descriptor does
    /// not allow the access.
    pub fn new(
        file: Arc<OwnedFd>,
        offset: u64,
        length: u64,
        access: DmaMapFlags,
    ) -> Result<Option<Self>, Errno> {
        let status = fstat(&file)?;
        let is_regular = FileType::from_raw_mode(status.st_mode) == FileType::RegularFile;
        if !is_regular || page_size(file.as_fd())? != rustix::param::page_size() as u64 {
            return Ok(None);
        }
        check_size(file.as_fd(), offset, length)?;
        let mode = fcntl_getfl(&file)? & OFlags::RWMODE;
        let forbidden = if mode == OFlags::RDWR {
            DmaMapFlags::empty()
        } else if mode == OFlags::WRONLY {
            DmaMapFlags::READ
        } else {
            DmaMapFlags::WRITE
        };
        if access.intersects(forbidden) {
            return Err(Errno::ACCESS);
        }
        Ok(Some(FileIo { file, start: offset }))
    }

    /// Reads `buffer.len()` bytes from `offset` on.
    ///
    /// # Errors
    /// [`Truncated`] if the file does not have, or does not give, all of them.
    pub fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Truncated> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let position = self.position(offset, done)?;
            done += moved(retry_on_intr(|| pread(&self.file, &mut *rest, position)))?;
        }
        Ok(())
    }

    /// Writes bytes from `offset` on.
    ///
    /// # Errors
    /// [`Truncated`] if the file does not take all of them.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), Truncated> {
        let mut done = 0;
        while let Some(rest) = data.get(done..).filter(|rest| !rest.is_empty()) {
            let position = self.position(offset, done)?;
            done += moved(retry_on_intr(|| pwrite(&self.file, rest, position)))?;
        }
        Ok(())
    }

    fn position(&self, offset: u64, done: usize) -> Result<u64, Truncated> {
        self.start.checked_add(offset + done as u64).ok_or(Truncated)
    }
}

/// How many bytes a system call has moved, which are 0 at the end of the file.
fn moved(result: Result<usize, Errno>) -> Result<usize, Truncated> {
    result.ok().filter(|count| *count > 0).ok_or(Truncated)
}
