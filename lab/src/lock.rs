//! Locks between processes, by files the kernel unlocks when their owner dies.

use std::fs::{File, OpenOptions};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};

use crate::{files, paths, progress};

/// The right to change what is in this user's folder of the lab, while the packages stay as they
/// are; given back when the value goes.
#[derive(Debug)]
pub struct Preparing {
    _own: File,
    _packages: Option<File>,
}

/// Waits until no other process prepares anything in this user's folder of the lab, and until the
/// owner of the packages is not exchanging them.
pub fn preparing() -> Result<Preparing> {
    let folder = paths::lab();
    files::create_folder(&folder)?;
    let own = open(&folder.join(paths::LOCK), OpenOptions::new().create(true).write(true))?;
    lock(&own, &folder, FlockOperation::LockExclusive)?;
    let packages = paths::packages();
    let path = packages.join(paths::LOCK);
    let mut shared = None;
    if packages != folder && path.is_file() {
        let file = open(&path, OpenOptions::new().read(true))?;
        lock(&file, &packages, FlockOperation::LockShared)?;
        shared = Some(file);
    }
    Ok(Preparing { _own: own, _packages: shared })
}

fn open(path: &Path, options: &mut OpenOptions) -> Result<File> {
    options.truncate(false).open(path).with_context(|| format!("cannot open {}", path.display()))
}

/// Locks a file of a folder, and tells the user when that has to wait.
fn lock(file: &File, folder: &Path, how: FlockOperation) -> Result<()> {
    let now = match how {
        FlockOperation::LockShared => FlockOperation::NonBlockingLockShared,
        _ => FlockOperation::NonBlockingLockExclusive,
    };
    if flock(file, now).is_ok() {
        return Ok(());
    }
    let folder = folder.display();
    progress::say(&format!("waiting for another preparation of {folder} to end"));
    flock(file, how).with_context(|| format!("cannot lock {folder}"))
}

/// Locks a file or folder if no other process has.
pub fn try_exclusive(file: &File) -> bool {
    flock(file, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// Removes what an interrupted preparation left in a folder. To be called with the lock held: then
/// no other process is still writing it.
pub fn remove_partial(folder: &Path, _right: &Preparing) -> Result<()> {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
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
