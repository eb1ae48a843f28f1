//! Locks between processes, by files the kernel unlocks when their owner dies.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{paths, progress};

/// The right to change what is in `target/lab`; given back when the value goes.
#[derive(Debug)]
pub struct Preparing {
    _file: File,
}

/// Waits until nobody else prepares anything in `target/lab`.
pub fn preparing() -> Result<Preparing> {
    let path = paths::lab().join("lock");
    let folder = paths::lab();
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    if !try_exclusive(&file) {
        let folder = folder.display();
        progress::say(&format!("waiting for another preparation of {folder} to end"));
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(Preparing { _file: file })
}

/// Locks a file or folder if nobody else has.
pub fn try_exclusive(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes what an interrupted preparation left in a folder. To be called by who holds the lock:
/// then nobody is still writing it.
pub fn remove_partial(folder: &Path, _right: &Preparing) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "partial") {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file or a folder with all in it; fine when there is none.
pub fn remove(path: &Path) -> Result<()> {
    let result = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        _ => std::fs::remove_file(path),
    };
    result.with_context(|| format!("cannot remove {}; remove it by hand", path.display()))
}
