//! Adds up what a program and its children use.
//!
//! The kernel limits the memory of one process and the size of one file. A program can have many
//! of both, so the sums are looked at from outside, now and then: often enough that a machine with
//! some room to spare is never short of it.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{End, Limits};
use crate::process::status::{self, number};

/// How often the memory is added up.
const MEMORY_EVERY: Duration = Duration::from_millis(100);
/// How often the files are.
const DISK_EVERY: Duration = Duration::from_millis(250);

/// Watches a process's family, and folders.
#[derive(Debug)]
pub struct Watch {
    process: u32,
    folders: Vec<PathBuf>,
    memory_seen: Instant,
    disk_seen: Instant,
}

impl Watch {
    /// For a process and what its children may write to.
    pub fn new(process: u32, folders: Vec<PathBuf>) -> Self {
        let now = Instant::now();
        Self { process, folders, memory_seen: now, disk_seen: now }
    }

    /// The end that the process deserves when it is over its limits.
    pub fn over(&mut self, limits: &Limits) -> Option<End> {
        if self.memory_seen.elapsed() >= MEMORY_EVERY {
            let used = family_memory(self.process);
            // From its end: adding up takes time itself when there is much.
            self.memory_seen = Instant::now();
            if used > limits.memory {
                return Some(End::TooMuchMemory);
            }
        }
        if self.disk_seen.elapsed() >= DISK_EVERY {
            let used: u64 = self.folders.iter().map(|folder| size(folder)).sum();
            self.disk_seen = Instant::now();
            if used > limits.disk {
                return Some(End::TooMuchDisk);
            }
        }
        None
    }
}

/// Bytes of memory that belong to a process or its descendants alone.
fn family_memory(process: u32) -> u64 {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let mut memory: HashMap<u32, u64> = HashMap::new();
    for (process, status) in status::all() {
        // A tracer's child may have lost its parent, and still belongs to the family.
        let tracer = number(&status, "TracerPid:").filter(|tracer| *tracer != 0);
        let parent = tracer.or_else(|| number(&status, "PPid:")).unwrap_or(0);
        children.entry(parent).or_default().push(process);
        let kib = |name| number::<u64>(&status, name).unwrap_or(0);
        memory.insert(process, (kib("RssAnon:") + kib("RssShmem:")).saturating_mul(1024));
    }
    let mut sum = 0;
    let mut family = vec![process];
    while let Some(member) = family.pop() {
        // Removed, so that no loop of parents, read at different times, is followed for ever.
        sum += memory.remove(&member).unwrap_or(0);
        family.extend(children.remove(&member).unwrap_or_default());
    }
    sum
}

/// How many processes and threads this user has.
pub fn user_threads() -> u32 {
    let user = rustix::process::getuid().as_raw();
    let own = status::all().filter(|(_, status)| number(status, "Uid:") == Some(user));
    own.filter_map(|(_, status)| number::<u32>(&status, "Threads:")).sum()
}

/// What a file or folder takes on disk, without following links.
fn size(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else { return 0 };
    let own = metadata.blocks() * 512;
    if !metadata.is_dir() {
        return own;
    }
    let Ok(entries) = fs::read_dir(path) else { return own };
    own + entries.flatten().map(|entry| size(&entry.path())).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_counted_with_this_process() {
        assert!(family_memory(std::process::id()) > 0);
    }

    #[test]
    fn files_are_counted_and_links_are_not_followed() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        fs::create_dir(folder.path().join("in")).expect("writable");
        fs::write(folder.path().join("in/file"), vec![1; 100_000]).expect("writable");
        std::os::unix::fs::symlink("/", folder.path().join("root")).expect("writable");
        let size = size(folder.path());
        assert!((100_000..200_000).contains(&size), "{size}");
    }
}
