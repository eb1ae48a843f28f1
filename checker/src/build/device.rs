//! Builds a device: a crate of the student's, or a single Rust file.
//!
//! The checkout's versions of all dependencies are used, whatever the student's `Cargo.lock` says:
//! there is no network behind the wall, and what was downloaded is what the checkout itself needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lab::device_crate::DeviceCrate;
use lab::paths;

use super::c_source::{self, Source};
use super::copy;
use super::{Failure, QEMU_DEVICE, first_error, first_errors, shown, toolchain};

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
    match only_crate(&copied.files, &krate) {
        Some(inner) if inner == krate => {}
        // In an archive there is a folder around it.
        Some(inner) => take_inner(&krate, &inner)?,
        None => {
            let file = only_file(&copied.files, &krate)?;
            // Relative to the manifest: inside the wall the folder has another name.
            DeviceCrate::open_in(Path::new(&file), &krate)?;
        }
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

/// The folder with the manifest: the outermost one, or the only one.
fn only_crate(files: &[PathBuf], top: &Path) -> Option<PathBuf> {
    let manifests = files.iter().filter(|path| path.file_name().is_some_and(|n| n == "Cargo.toml"));
    let folders: Vec<&Path> = manifests.filter_map(|path| path.parent()).collect();
    match &folders[..] {
        [one] => Some(one.to_path_buf()),
        several => several.iter().find(|folder| **folder == top).map(|top| top.to_path_buf()),
    }
}

/// Puts a folder in the place of one around it.
fn take_inner(outer: &Path, inner: &Path) -> Result<(), Failure> {
    let aside = outer.with_file_name("handed-in");
    let inner = aside.join(inner.strip_prefix(outer).unwrap_or(inner));
    let moved = fs::rename(outer, &aside).and_then(|()| fs::rename(&inner, outer));
    Ok(moved.with_context(|| format!("cannot move {}", inner.display()))?)
}

/// The only Rust file of what was handed in without a manifest.
fn only_file(files: &[PathBuf], folder: &Path) -> Result<String, Failure> {
    let rust: Vec<&PathBuf> =
        files.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    match &rust[..] {
        [file] => Ok(shown(file, folder)),
        [] => {
            let mut why = vec!["there is neither a Cargo.toml nor a Rust file (.rs)".to_owned()];
            let c = files.iter().filter(|path| c_source::is_c(path));
            let qemu = c.filter(|path| Source::read(path).is_ok_and(|source| source.is_qemu()));
            why.extend(qemu.map(|path| format!("{}: {QEMU_DEVICE}", shown(path, folder))));
            Err(Failure::hint(why.join("; ")))
        }
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
