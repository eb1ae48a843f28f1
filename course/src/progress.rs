//! What a student has passed: a small JSON file in the student's state folder
//! (`$XDG_STATE_HOME/my-rng-course/progress.json`, by default in `~/.local/state`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::step::{Language, Step};

/// How far a student is in a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    /// Whether its check has passed.
    #[serde(default)]
    pub passed: bool,
    /// How many hints were shown.
    #[serde(default)]
    pub hints: usize,
}

/// How far a student is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The folder with the student's files.
    pub folder: Option<PathBuf>,
    /// The language of the student's devices; both if not said.
    pub language: Option<Language>,
    /// The steps that were begun, by name.
    #[serde(default)]
    pub steps: BTreeMap<String, StepProgress>,
    #[serde(skip)]
    path: PathBuf,
}

/// Where the progress of this user is.
pub fn default_path() -> Result<PathBuf> {
    let folder =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let state = folder("XDG_STATE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".local/state")))
        .context("cannot tell where to keep your progress: set HOME or XDG_STATE_HOME")?;
    Ok(state.join("my-rng-course/progress.json"))
}

impl Progress {
    /// Reads a file; one that is not there is the beginning.
    pub fn read(path: &Path) -> Result<Self> {
        let mut progress = match fs::read_to_string(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Self::default(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            Ok(text) => serde_json::from_str(&text).with_context(|| {
                format!("invalid progress in {}; remove the file to begin anew", path.display())
            })?,
        };
        path.clone_into(&mut progress.path);
        Ok(progress)
    }

    /// Writes it. The file is the old or the new one, whatever interrupts this.
    pub fn write(&self) -> Result<()> {
        let folder = self.path.parent().context("the file is in a folder")?;
        let written = || -> Result<()> {
            fs::create_dir_all(folder)?;
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
            file.persist(&self.path)?;
            Ok(())
        };
        written().with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// Changes how far the student is in a step, as it is in the file now: another command may have
    /// changed it.
    pub fn change(&mut self, step: &Step, change: impl FnOnce(&mut StepProgress)) -> Result<()> {
        *self = Self::read(&self.path)?;
        change(self.steps.entry(step.name.clone()).or_default());
        self.write()
    }

    /// How far the student is in a step.
    #[must_use]
    pub fn of(&self, step: &Step) -> StepProgress {
        self.steps.get(&step.name).copied().unwrap_or_default()
    }

    /// Whether a step is one of this student's.
    #[must_use]
    pub fn wants(&self, step: &Step) -> bool {
        self.language.is_none() || step.language.is_none() || step.language == self.language
    }

    /// The steps of this student, in their order.
    pub fn steps_of<'a>(&self, steps: &'a [Step]) -> Vec<&'a Step> {
        steps.iter().filter(|step| self.wants(step)).collect()
    }

    /// The first step that is not passed.
    #[must_use]
    pub fn next<'a>(&self, steps: &'a [Step]) -> Option<&'a Step> {
        self.steps_of(steps).into_iter().find(|step| !self.of(step).passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_survives_and_a_broken_file_is_named() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let path = folder.path().join("deep/progress.json");
        let mut progress = Progress::read(&path).expect("none is the beginning");
        progress.language = Some(Language::Rust);
        progress.steps.insert("01-a".to_owned(), StepProgress { passed: true, hints: 2 });
        progress.write().expect("writable");
        assert_eq!(Progress::read(&path).expect("readable"), progress);
        let others = fs::read_dir(path.parent().expect("it has one")).expect("readable").count();
        assert_eq!(others, 1, "no file is left beside it");
        fs::write(&path, "{").expect("writable");
        let error = format!("{:#}", Progress::read(&path).expect_err("broken"));
        assert!(error.contains("remove the file to begin anew"), "{error}");
    }
}
