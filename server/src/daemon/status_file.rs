//! The status file: which class identifier each guest has, kept over a restart of the daemon.
//!
//! The file is written whenever a guest comes or goes, in one piece: whoever reads it finds the
//! old one or the new one. When the daemon ends, the guests that are connected keep theirs, and get
//! them again when they come back. A file that cannot be understood is set aside, not overwritten:
//! somebody may want to know what was in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// The layout of the file that is written and understood.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// By source: class identifiers by guest.
    sources: Identifiers,
}

/// Class identifiers by guest, by source.
pub type Identifiers = BTreeMap<String, BTreeMap<String, u16>>;

/// The status file, or none.
#[derive(Debug)]
pub struct StatusFile {
    path: Option<PathBuf>,
}

impl StatusFile {
    /// The file at this path; without one nothing is kept.
    pub fn new(path: Option<PathBuf>) -> Self {
        StatusFile { path }
    }

    /// What was kept. A file that cannot be understood is set aside and reported.
    ///
    /// # Errors
    /// The file cannot be read, or cannot be set aside.
    pub fn load(&self) -> Result<Identifiers> {
        let Some(path) = &self.path else { return Ok(Identifiers::default()) };
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Identifiers::default()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        match understand(&text) {
            Ok(identifiers) => Ok(identifiers),
            Err(reason) => {
                let aside = set_aside(path)?;
                log::error!(
                    "the status file {} cannot be understood ({reason:#}); it is {} now, and class \
                     identifiers begin anew",
                    path.display(),
                    aside.display()
                );
                Ok(Identifiers::default())
            }
        }
    }

    /// Writes what is to be kept.
    ///
    /// # Errors
    /// The folder is not there, or full, or not ours to write to.
    pub fn store(&self, identifiers: &Identifiers) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        write_atomically(path, identifiers)
            .with_context(|| format!("cannot write the status file {}", path.display()))
    }
}

fn understand(text: &[u8]) -> Result<Identifiers> {
    let Content { version, sources } = serde_json::from_slice(text)?;
    ensure!(version == VERSION, "its version is {version}, and {VERSION} is known");
    for (source, guests) in &sources {
        let distinct: BTreeSet<u16> = guests.values().copied().collect();
        ensure!(distinct.len() == guests.len(), "two guests of {source:?} have one identifier");
    }
    Ok(sources)
}

/// Renames a file to a name that is not taken; returns it.
fn set_aside(path: &Path) -> Result<PathBuf> {
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

fn write_atomically(path: &Path, identifiers: &Identifiers) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    let content = Content { version: VERSION, sources: identifiers.clone() };
    serde_json::to_writer_pretty(&mut file, &content)?;
    file.write_all(b"\n")?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The new name has to last, too.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identifiers() -> Identifiers {
        let guests = BTreeMap::from([("web1".to_owned(), 2), ("web2".to_owned(), 65535)]);
        BTreeMap::from([("hw".to_owned(), guests)])
    }

    #[test]
    fn what_is_stored_is_loaded_and_nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = StatusFile::new(Some(folder.path().join("status")));
        assert_eq!(file.load().unwrap(), Identifiers::default());
        for _ in 0..2 {
            file.store(&identifiers()).unwrap();
            assert_eq!(file.load().unwrap(), identifiers());
        }
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_understood_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status");
        let file = StatusFile::new(Some(path.clone()));
        for (number, text) in [
            "",
            "{",
            "\0\0\0",
            r#"{"version": 2, "sources": {}}"#,
            r#"{"version": 1, "sources": {}, "more": 1}"#,
            r#"{"version": 1, "sources": {"hw": {"a": 65536}}}"#,
            r#"{"version": 1, "sources": {"hw": {"a": 7, "b": 7}}}"#,
        ]
        .iter()
        .enumerate()
        {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file.load().unwrap(), Identifiers::default(), "{text}");
            assert!(!path.exists());
            let aside = folder.path().join(format!("status.bad{}", number + 1));
            assert_eq!(std::fs::read_to_string(aside).unwrap(), *text);
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let file = StatusFile::new(Some("/nonexistent/status".into()));
        let error = format!("{:#}", file.store(&identifiers()).unwrap_err());
        assert!(error.starts_with("cannot write the status file /nonexistent/status: "), "{error}");
        StatusFile::new(None).store(&identifiers()).unwrap();
    }
}
