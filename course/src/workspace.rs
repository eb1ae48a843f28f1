//! The student's files: a folder with one folder for each step that was begun.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use lab::files;

use crate::step::{self, Step};

/// The folder's name, where the student has not named one.
pub const DEFAULT_FOLDER: &str = "my-course";

/// The student's files.
#[derive(Debug, Clone)]
pub struct Workspace {
    folder: PathBuf,
}

impl Workspace {
    /// In a folder, which is made when the first step begins.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The folder of a step.
    #[must_use]
    pub fn of(&self, step: &Step) -> PathBuf {
        self.folder.join(&step.name)
    }

    /// The step's files, for the student.
    #[must_use]
    pub fn files(&self, step: &Step) -> Vec<PathBuf> {
        step.files.iter().map(|file| self.of(step).join(file)).collect()
    }

    /// Gives the student the files to begin with. Files that are there already stay.
    pub fn begin(&self, step: &Step, steps: &[Step]) -> Result<()> {
        let from = match &step.continues {
            None => step.start(),
            Some(before) => self.of(step::find(steps, before)?),
        };
        for file in &step.files {
            let to = self.of(step).join(file);
            if to.exists() {
                continue;
            }
            if let Some(before) = &step.continues {
                ensure!(
                    from.join(file).is_file(),
                    "{} continues {before}, and {} is not there: take that step first",
                    step.name,
                    from.join(file).display()
                );
            }
            copy(&from.join(file), &to)?;
        }
        Ok(())
    }

    /// Gives the student the files to begin with once more. Those that were there stay as
    /// `NAME.old`; their paths are returned.
    pub fn reset(&self, step: &Step, steps: &[Step]) -> Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for file in self.files(step) {
            if file.exists() {
                let mut old = file.clone().into_os_string();
                old.push(".old");
                let old = PathBuf::from(old);
                fs::rename(&file, &old)
                    .with_context(|| format!("cannot rename {}", file.display()))?;
                kept.push(old);
            }
        }
        self.begin(step, steps)?;
        Ok(kept)
    }
}

/// Copies a file to a folder that may not be there yet.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let folder = to.parent().context("a file is in a folder")?;
    files::create_folder(folder)?;
    // Not with the rights of the first: those of the checkout may be read-only.
    files::write(to, files::read(from)?)
}
