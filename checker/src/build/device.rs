//! Builds a device: a crate of the student's, or a single Rust file.
//!
//! The checkout's versions of all dependencies are used, whatever the student's `Cargo.lock` says:
//! there is no network behind the wall, and what was downloaded is what the checkout itself needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lab::device_crate::DeviceCrate;
use lab::paths;

use super::copy;
use super::{Failure, first_error, first_errors, shown, toolchain};

/// What cargo says when a dependency cannot be had, and the hint.
const NOT_THERE: [&str; 5] = [
    "no matching package",
    "failed to select a version",
    "failed to get",
    "failed to load source",
    "offline",
];

/// Builds a device. `source` is a crate's folder or a single `.rs` file, `work` an empty folder of
/// this submission's own. The program takes `--socket-path`, `--ready-fd` and `-v`.
pub fn device(source: &Path, work: &Path) -> Result<PathBuf, Failure> {
    let work = work.join("device");
    let krate = work.join("crate");
    let copied = copy::sources(source, &krate)?;
    let manifest = krate.join("Cargo.toml");
    if !manifest.is_file() {
        let file = only_file(&copied.files, &krate)?;
        // Relative to the manifest: inside the wall the folder has another name.
        DeviceCrate::open_in(Path::new(&file), &krate)?;
    }
    let lock = paths::checkout().join("Cargo.lock");
    fs::copy(&lock, krate.join("Cargo.lock"))
        .with_context(|| format!("cannot copy {}", lock.display()))?;
    toolchain::begin(&work)?;
    let outcome = toolchain::cargo(&work)?;
    if !outcome.end.success() {
        let said = outcome.text();
        let hint = hint(&said).unwrap_or_else(|| format!("cargo {}", outcome.end.describe()));
        return Err(Failure::Submission { said: first_errors(&said), hint });
    }
    let programs = toolchain::programs(&work)?;
    match &programs[..] {
        [program] => Ok(program.clone()),
        [] => Err(Failure::hint(
            "the crate has no program: give it a src/main.rs with a main function",
        )),
        _ => Err(Failure::hint("the crate has several programs: leave one, the device")),
    }
}

/// The only Rust file of what was handed in without a manifest.
fn only_file(files: &[PathBuf], folder: &Path) -> Result<String, Failure> {
    let rust: Vec<&PathBuf> =
        files.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    match &rust[..] {
        [file] => Ok(shown(file, folder)),
        [] => Err(Failure::hint("there is neither a Cargo.toml nor a Rust file (.rs)")),
        _ => Err(Failure::hint(
            "there are several Rust files and no Cargo.toml: add one, with the dependency \
             vfio-user-kit = \"0.1\", or hand in a single file",
        )),
    }
}

fn hint(said: &str) -> Option<String> {
    if NOT_THERE.iter().any(|part| said.contains(part)) {
        return Some(
            "a dependency is not available: there is no network, and nothing but the device kit \
             (vfio-user-kit = \"0.1\") and what it depends on itself; leave the others out"
                .to_owned(),
        );
    }
    first_error(said).map(|error| {
        let place = said.lines().find_map(|line| line.trim().strip_prefix("--> "));
        let place = place.map(|place| format!(" (at {place})")).unwrap_or_default();
        format!("it does not compile; the first error is: {error}{place}")
    })
}

#[cfg(test)]
mod tests;
