//! Builds a kernel module or a program of the user's own, as the coursework checker does: of a folder
//! with a Kbuild or with one C file, of sources in sub-folders, of a single file. The checker's own
//! code does it, in a program of its package that cargo builds when it is needed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::arch::{self, Arch};
use crate::{cargo_build, entry, files, lock, process};

/// A module or a program that was built.
#[derive(Debug)]
pub struct Built {
    /// The module or the program.
    pub file: PathBuf,
    /// What had to be added to the sources, and the compiler's warnings.
    pub notes: Vec<String>,
}

/// Builds the module of a source for the kernel that the user chose. What was in the folder `work`
/// before is removed.
pub fn build(source: &Path, work: &Path) -> Result<Built> {
    build_with(&[], source, work)
}

/// Builds the program of a source, for a guest with tools. What was in the folder `work` before is
/// removed.
pub fn build_app(source: &Path, work: &Path) -> Result<Built> {
    build_with(&["--app"], source, work)
}

fn build_with(options: &[&str], source: &Path, work: &Path) -> Result<Built> {
    // What the program says of how it enters a root is not shown; this says it.
    entry::get(None)?;
    let program = cargo_build::driver_builder()?;
    lock::remove(work)?;
    files::create_folder(work)?;
    let mut command = process::tied(&program);
    command.arg(source).arg("--work").arg(work).args(options);
    command.env(arch::VARIABLE, Arch::guest().name());
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !matches!(output.status.code(), Some(0 | 1)) {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("cannot build {}: {}", source.display(), said.trim_end());
    }
    let document = String::from_utf8_lossy(&output.stdout);
    outcome(&document).with_context(|| format!("cannot build {}", source.display()))
}

/// What the program says.
fn outcome(document: &str) -> Result<Built> {
    let document: Value = serde_json::from_str(document.trim())
        .with_context(|| format!("the checker's build printed {document:?}"))?;
    if let Some(hint) = document["hint"].as_str() {
        let said = document["said"].as_str().unwrap_or_default();
        bail!("{}", format!("{hint}\n{said}").trim_end());
    }
    let built = document["module"].as_str().or_else(|| document["program"].as_str());
    let file = built.context("the checker's build named no file")?;
    let notes = document["notes"].as_array().into_iter().flatten();
    let notes = notes.filter_map(|note| note.as_str().map(str::to_owned)).collect();
    Ok(Built { file: file.into(), notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_and_fault_are_told_apart() {
        let built = outcome("{\"module\":\"/a/b.ko\",\"notes\":[\"one\"]}\n").expect("it is built");
        assert_eq!((built.file, built.notes), ("/a/b.ko".into(), vec!["one".to_owned()]));
        let fault = outcome("{\"hint\":\"no C file\",\"said\":\"\"}").expect_err("it is not");
        assert_eq!(fault.to_string(), "no C file");
        let fault = outcome("{\"hint\":\"wrong\",\"said\":\"a.c:1\\n\"}").expect_err("it is not");
        assert_eq!(fault.to_string(), "wrong\na.c:1");
        assert!(outcome("").is_err() && outcome("{}").is_err());
    }
}
