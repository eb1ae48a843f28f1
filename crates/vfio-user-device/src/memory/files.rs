//! The files behind a guest's memory: one descriptor each, however many regions lie in it.
//!
//! A mapping needs no descriptor. They are kept for another process that takes the guest over.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use rustix::fs::{OFlags, fcntl_getfl, fstat};
use rustix::io::Errno;

use super::budget::{Room, Share};

/// Which file a descriptor is of, and how it may be accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
    access: OFlags,
}

/// The files of one guest.
#[derive(Debug, Default)]
pub(super) struct MemoryFiles(Vec<(FileId, Weak<OwnedFd>, Room)>);

impl MemoryFiles {
    /// The descriptor to keep for a file: the first one that came for it, while a region has that.
    /// `None` if this guest may keep no more.
    pub fn keep(&mut self, file: OwnedFd, share: &Share) -> Result<Option<Arc<OwnedFd>>, Errno> {
        let status = fstat(&file)?;
        let access = fcntl_getfl(&file)? & OFlags::RWMODE;
        let id = FileId { device: status.st_dev, inode: status.st_ino, access };
        self.0.retain(|(_, file, _)| file.strong_count() > 0);
        let known = self.0.iter().filter(|(known, ..)| *known == id);
        if let Some(file) = known.filter_map(|(_, file, _)| file.upgrade()).next() {
            return Ok(Some(file));
        }
        let Some(room) = share.room_for(0) else { return Ok(None) };
        let file = Arc::new(file);
        self.0.push((id, Arc::downgrade(&file), room));
        Ok(Some(file))
    }

    /// All of them that a region has.
    pub fn iter(&self) -> impl Iterator<Item = Arc<OwnedFd>> + '_ {
        self.0.iter().filter_map(|(_, file, _)| file.upgrade())
    }

    /// The place of a file in [`MemoryFiles::iter`].
    pub fn position(&self, file: &Arc<OwnedFd>) -> Option<usize> {
        self.iter().position(|kept| Arc::ptr_eq(&kept, file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::budget::FILES;

    #[test]
    fn a_file_is_kept_once_and_as_long_as_a_region_has_it() {
        let file = tempfile::tempfile().unwrap();
        let mut files = MemoryFiles::default();
        let share = Share::of(&FILES);
        let mut keep = || files.keep(file.try_clone().unwrap().into(), &share).unwrap().unwrap();
        let (first, second) = (keep(), keep());
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(files.position(&second), Some(0));
        drop((first, second));
        assert_eq!(files.iter().count(), 0);
        let other = files.keep(tempfile::tempfile().unwrap().into(), &share).unwrap().unwrap();
        assert_eq!(files.position(&other), Some(0));
        assert_eq!(files.0.len(), 1, "the first one is forgotten");
    }

    #[test]
    fn no_guest_keeps_descriptors_without_end() {
        let mut files = MemoryFiles::default();
        let share = Share::of(&FILES);
        let mut kept = Vec::new();
        while let Some(file) = files.keep(tempfile::tempfile().unwrap().into(), &share).unwrap() {
            kept.push(file);
        }
        assert!((16..=256).contains(&kept.len()), "{}", kept.len());
        kept.pop();
        assert!(files.keep(tempfile::tempfile().unwrap().into(), &share).unwrap().is_some());
    }
}
