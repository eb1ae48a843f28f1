//! Builds what was handed in: a kernel module, an application or a device.
//!
//! The sources are copied to a folder of the submission's own, and the compilers run behind the
//! lab's wall ([`lab::sandbox`]): a Makefile or a `build.rs` is a program, too. What the student
//! did wrong comes back as a [`Failure::Submission`] with a hint, what the lab could not do as a
//! [`Failure::Lab`].

use std::path::{Path, PathBuf};

use anyhow::Context;

mod app;
mod archive;
pub(crate) mod c_source;
pub(crate) mod copy;
mod device;
mod driver;
mod kernel_hints;
mod kernel_names;
mod patch;
mod toolchain;

pub use app::app;
pub(crate) use copy::packed_stem;
pub use device::device;
pub use driver::driver;
pub(crate) use driver::{QEMU_DEVICE, RUST_DRIVER, is_rust_driver};

/// How much of a compiler's words a report shows.
const SHOWN_LINES: usize = 12;

/// The most bytes of a module or a program.
const MAX_BUILT: u64 = 32 << 20;

/// A kernel module that was built.
#[derive(Debug, Clone)]
pub struct Module {
    /// The `.ko`.
    pub file: PathBuf,
    /// As `lsmod` and `rmmod` name it.
    pub name: String,
    /// Whether it has a way to be unloaded (`module_exit`).
    pub unloadable: bool,
    /// What the checker had to add or noticed, and compiler warnings; shown in the report.
    pub notes: Vec<String>,
}

/// Why there is nothing to check.
#[derive(Debug)]
pub enum Failure {
    /// The submission's fault.
    Submission {
        /// What compiler, kbuild or cargo said about it; may be empty.
        said: String,
        /// What to do.
        hint: String,
    },
    /// The lab could not do its part.
    Lab(anyhow::Error),
}

impl Failure {
    /// A fault of the submission that no compiler has said anything about.
    fn hint(hint: impl Into<String>) -> Self {
        Self::Submission { said: String::new(), hint: hint.into() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Lab(error)
    }
}

/// Checks that what was built is small enough for a guest, which holds it in memory.
fn fits(file: &Path) -> Result<(), Failure> {
    let size = file.metadata().with_context(|| format!("cannot read {}", file.display()))?.len();
    if size <= MAX_BUILT {
        return Ok(());
    }
    let (size, most) = (size >> 20, MAX_BUILT >> 20);
    Err(Failure::hint(format!("it compiles to {size} MiB; {most} are the most that a guest gets")))
}

/// The lines of a compiler's output with the first errors, or its end when none is marked.
fn first_errors(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.iter().position(|line| is_error(line));
    let start = first.unwrap_or(lines.len().saturating_sub(SHOWN_LINES));
    let end = lines.len().min(start + SHOWN_LINES);
    lines[start..end].join("\n")
}

/// The first error itself.
fn first_error(said: &str) -> Option<&str> {
    said.lines().find(|line| is_error(line)).map(str::trim)
}

/// Whether compiler, linker, modpost or rustc complain in this line.
fn is_error(line: &str) -> bool {
    line.contains("error: ")
        || line.contains("error[")
        || line.contains("ERROR: ")
        || line.contains("undefined reference")
        || line.contains("*** No rule")
}

/// The warnings in a compiler's output, at most so many, as notes.
fn warnings(said: &str) -> Vec<String> {
    const MOST: usize = 5;
    let all = lab::module_build::complaints(said);
    let mut notes: Vec<String> = all.iter().take(MOST).map(|line| (*line).to_owned()).collect();
    if all.len() > MOST {
        notes.push(format!("and {} more warnings", all.len() - MOST));
    }
    notes
}

/// A path as it is named in the submission.
pub(crate) fn shown(path: &Path, folder: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_shown_and_not_what_came_before() {
        let said = "CC a.o\na.c:1:2: warning: w\na.c:3:4: error: e\n   3 | x\nmake: *** Error 1\n";
        assert_eq!(first_errors(said), "a.c:3:4: error: e\n   3 | x\nmake: *** Error 1");
        assert_eq!(first_error(said), Some("a.c:3:4: error: e"));
        assert_eq!(first_errors("one\n\ntwo\n"), "one\ntwo");
    }

    #[test]
    fn warnings_are_noted_but_not_all_of_them() {
        let said = "a.c:1: warning: same\n".repeat(7);
        let notes = warnings(&said);
        assert_eq!(notes.len(), 6);
        assert_eq!(notes[5], "and 2 more warnings");
    }
}
