//! `std::fs`, with errors that name the file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The bytes of a file.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<u8>> {
    fs::read(&path).with_context(|| format!("cannot read {}", path.as_ref().display()))
}

/// The text of a file.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.as_ref().display()))
}

/// What is in a folder, in the order of the names.
pub fn entries(path: impl AsRef<Path>) -> Result<Vec<fs::DirEntry>> {
    let read = || fs::read_dir(&path)?.collect::<std::io::Result<Vec<_>>>();
    let mut entries = read().with_context(|| format!("cannot read {}", path.as_ref().display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// The paths in a folder that are wanted, in the order of the names.
pub fn paths(folder: &Path, wanted: impl Fn(&Path) -> bool) -> Result<Vec<PathBuf>> {
    let paths = entries(folder)?.into_iter().map(|entry| entry.path());
    Ok(paths.filter(|path| wanted(path)).collect())
}

/// Makes a file have these contents.
pub fn write(path: impl AsRef<Path>, contents: impl AsRef<[u8]>) -> Result<()> {
    fs::write(&path, contents).with_context(|| format!("cannot write {}", path.as_ref().display()))
}

/// Makes a folder, and those that it is in.
pub fn create_folder(path: impl AsRef<Path>) -> Result<()> {
    fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.as_ref().display()))
}

/// Copies a file.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let copied = fs::copy(&from, &to).map(drop);
    copied.with_context(|| {
        format!("cannot copy {} to {}", from.as_ref().display(), to.as_ref().display())
    })
}
