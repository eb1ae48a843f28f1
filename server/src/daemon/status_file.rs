//! The status file: which class id each guest has, for the next start of the daemon.
//!
//! The file is written atomically whenever a guest connects or disconnects: a reader finds the old
//! content or the new one. When the daemon ends, the guests that are connected keep their ids, and get
//! them again when they connect to the next one. An invalid file is renamed, not overwritten: what was
//! in it may be wanted.

mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::whole_file::{read, set_aside, write_atomically};

pub use writer::StatusFileWriter;

/// The layout of the file that is written and understood.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// By source: class ids by guest.
    sources: ClassIds,
}

/// Class ids by guest, by source.
pub type ClassIds = BTreeMap<String, BTreeMap<String, u16>>;

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
    pub fn load(&self) -> Result<ClassIds> {
        let Some(path) = &self.path else { return Ok(ClassIds::default()) };
        let Some(text) = read(path)? else { return Ok(ClassIds::default()) };
        match understand(&text) {
            Ok(ids) => Ok(ids),
            Err(reason) => {
                let aside = set_aside(path)?;
                log::error!(
                    "the status file {} cannot be understood ({reason:#}); it is {} now, and class \
                     ids start anew",
                    path.display(),
                    aside.display()
                );
                Ok(ClassIds::default())
            }
        }
    }

    /// Writes what is to be kept.
    ///
    /// # Errors
    /// The folder is not there, or full, or not ours to write to.
    pub fn store(&self, ids: &ClassIds) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let content = Content { version: VERSION, sources: ids.clone() };
        write_atomically(path, &content)
            .with_context(|| format!("cannot write the status file {}", path.display()))
    }
}

fn understand(text: &[u8]) -> Result<ClassIds> {
    let Content { version, sources } = serde_json::from_slice(text)?;
    ensure!(version == VERSION, "its version is {version}, and {VERSION} is known");
    for (source, guests) in &sources {
        let distinct: BTreeSet<u16> = guests.values().copied().collect();
        ensure!(distinct.len() == guests.len(), "two guests of {source:?} have one class id");
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> ClassIds {
        let guests = BTreeMap::from([("web1".to_owned(), 2), ("web2".to_owned(), 65535)]);
        BTreeMap::from([("hw".to_owned(), guests)])
    }

    #[test]
    fn what_is_stored_is_loaded_and_nothing_else_is_left_behind() {
        let folder = tempfile::tempdir().unwrap();
        let file = StatusFile::new(Some(folder.path().join("status")));
        assert_eq!(file.load().unwrap(), ClassIds::default());
        for _ in 0..2 {
            file.store(&ids()).unwrap();
            assert_eq!(file.load().unwrap(), ids());
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
            assert_eq!(file.load().unwrap(), ClassIds::default(), "{text}");
            assert!(!path.exists());
            let aside = folder.path().join(format!("status.bad{}", number + 1));
            assert_eq!(std::fs::read_to_string(aside).unwrap(), *text);
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let file = StatusFile::new(Some("/nonexistent/status".into()));
        let error = format!("{:#}", file.store(&ids()).unwrap_err());
        assert!(error.starts_with("cannot write the status file /nonexistent/status: "), "{error}");
        StatusFile::new(None).store(&ids()).unwrap();
    }
}
