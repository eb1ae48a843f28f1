//! Files that a reader finds whole: with the old content or the new one.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;

/// Reads a file. `None` if it is not there.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Renames a file to a name that is not taken; returns it.
///
/// # Errors
/// What rename(2) says.
pub fn set_aside(path: &Path) -> Result<PathBuf> {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".bad{number}"));
        PathBuf::from(name)
    };
    let aside = (1..).map(name).find(|aside| aside.symlink_metadata().is_err());
    let aside = aside.context("no name is left")?;
    std::fs::rename(path, &aside)
        .with_context(|| format!("cannot set {} aside", path.display()))?;
    Ok(aside)
}

/// Writes a file in JSON, for this user alone.
///
/// # Errors
/// The folder is not there, or full, or not ours to write to.
pub fn write_atomically(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    serde_json::to_writer_pretty(&mut file, content)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name has to last, too.
    File::open(folder)?.sync_all()
}
