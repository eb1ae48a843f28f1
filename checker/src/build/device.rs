//! Builds a device: a crate of the student's, a single Rust file, or C files.
//!
//! In Rust the checkout's versions of all dependencies are used, whatever the student's `Cargo.lock`
//! says: there is no network in the sandbox, and what was downloaded is what the checkout itself
//! needs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use lab::device_crate::DeviceCrate;
use lab::sandbox::Limits;
use lab::{files, paths};

use super::{c_device, copy, first_error, first_errors, shown, toolchain};
use crate::report::Failure;
use crate::stop::Stop;

/// What cargo says when a dependency cannot be had, and the hint.
const NOT_THERE: [&str; 5] = [
    "no matching package",
    "failed to select a version",
    "failed to get",
    "failed to load source",
    "offline",
];

/// A device that was built.
#[derive(Debug, Clone)]
pub struct BuiltDevice {
    /// The program, which takes `--socket-path`, `--ready-fd` and `-v`.
    pub program: PathBuf,
    /// Whether it has the address sanitizer in it, which reserves more address space than others.
    pub sanitized: bool,
}

/// Builds a device. `source` is a folder, a single file or a patch, `work` an empty folder of this
/// submission's own.
pub fn device(source: &Path, work: &Path) -> Result<BuiltDevice, Stop> {
    let work = work.join("device");
    let krate = work.join("crate");
    let copied = copy::sources(source, &krate)?;
    if let Some(files) = c_device::files(&copied.files)? {
        let program = c_device::build(&files, &work, &krate)?;
        return Ok(BuiltDevice { program, sanitized: true });
    }
    match only_crate(&copied.files, &krate) {
        Some(inner) if inner == krate => {}
        // In an archive there is a folder around it.
        Some(inner) => take_inner(&krate, &inner)?,
        None => {
            let file = only_file(&copied.files, &krate)?;
            // Relative to the manifest: inside the sandbox the folder has another name.
            DeviceCrate::open_in(Path::new(&file), &krate)?;
        }
    }
    let lock = paths::checkout().join("Cargo.lock");
    files::copy(&lock, krate.join("Cargo.lock"))?;
    Ok(BuiltDevice { program: program(&work)?, sanitized: false })
}

/// Compiles a crate, and finds its program.
fn program(work: &Path) -> Result<PathBuf, Stop> {
    toolchain::begin(work)?;
    let outcome = toolchain::cargo(work, Limits::BUILD)?;
    if !outcome.end.success() {
        let said = outcome.text();
        let hint = hint(&said).unwrap_or_else(|| format!("cargo {}", outcome.end.describe()));
        return Err(Failure::new(hint).with(first_errors(&said)).into());
    }
    let programs = toolchain::programs(work)?;
    match &programs[..] {
        [program] => Ok(program.clone()),
        [] => Err(Stop::failed(
            "the crate has no program: give it a src/main.rs with a main function",
        )),
        _ => Err(Stop::failed("the crate has several programs: leave one, the device")),
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
fn take_inner(outer: &Path, inner: &Path) -> Result<(), Stop> {
    let aside = outer.with_file_name("handed-in");
    let inner = aside.join(inner.strip_prefix(outer).unwrap_or(inner));
    let moved = fs::rename(outer, &aside).and_then(|()| fs::rename(&inner, outer));
    Ok(moved.with_context(|| format!("cannot move {}", inner.display()))?)
}

/// The only Rust file of what was handed in without a manifest.
fn only_file(files: &[PathBuf], folder: &Path) -> Result<String, Stop> {
    let rust: Vec<&PathBuf> =
        files.iter().filter(|path| path.extension().is_some_and(|end| end == "rs")).collect();
    match &rust[..] {
        [file] => Ok(shown(file, folder)),
        [] => Err(Stop::failed(
            "there is neither a C file (.c) with QEMU's headers nor a Cargo.toml nor a Rust file (.rs)",
        )),
        _ => Err(Stop::failed(
            "there are several Rust files and no Cargo.toml: add one, with the dependency \
             vfio-user-device = \"0.1\", or hand in a single file",
        )),
    }
}

fn hint(said: &str) -> Option<String> {
    if NOT_THERE.iter().any(|part| said.contains(part)) {
        return Some(
            "a dependency is not available: there is no network, and nothing but the device kit \
             (vfio-user-device = \"0.1\") and what it depends on itself; leave the others out"
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
