//! Builds what was handed in: a kernel module, an application or a device.
//!
//! The sources are copied to a folder of the submission's own, and the compilers run behind the
//! lab's sandbox ([`lab::sandbox`]): a Makefile or a `build.rs` is a program, too. What the student
//! did wrong comes back as a [`Stop::Verdict`] with a hint, what the lab could not do as a
//! [`Stop::Lab`].

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::report::Failure;
use crate::stop::Stop;

mod app;
mod archive;
mod c_device;
pub(crate) mod c_source;
pub(crate) mod copy;
mod device;
mod driver;
mod kernel_hints;
mod kernel_names;
mod patch;
mod toolchain;

pub use app::{Linking, app};
pub(crate) use copy::packed_stem;
pub use device::{BuiltDevice, device};
pub use driver::driver;
pub(crate) use driver::{RUST_DRIVER, is_rust_driver};

/// How much of a compiler's words a report shows.
const SHOWN_LINES: usize = 12;

/// The most bytes of a submission.
const MAX_BYTES: u64 = 32 << 20;
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

/// Compiles the device kit for devices in both languages.
pub fn warm() -> anyhow::Result<()> {
    toolchain::compiled_kit()?;
    lab::c_device::libraries().map(drop)
}

/// Checks that what was built is small enough for a guest, which holds it in memory.
fn fits(file: &Path) -> Result<(), Stop> {
    let size = file.metadata().with_context(|| format!("cannot read {}", file.display()))?.len();
    if size <= MAX_BUILT {
        return Ok(());
    }
    let (size, most) = (size >> 20, MAX_BUILT >> 20);
    Err(Stop::failed(format!("it compiles to {size} MiB; {most} are the most that a guest gets")))
}

/// The lines of a compiler's output with the first errors, or its end when none is marked. Paths are
/// those of the submission, and what make says of itself is left out.
fn first_errors(said: &str) -> String {
    let said = with_own_paths(said);
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let others: Vec<&str> = lines.iter().copied().filter(|line| !is_makes_own(line)).collect();
    let lines = if others.is_empty() { lines } else { others };
    let first = lines.iter().position(|line| is_error(line));
    let start = first.unwrap_or(lines.len().saturating_sub(SHOWN_LINES));
    let end = lines.len().min(start + SHOWN_LINES);
    lines[start..end].join("\n")
}

/// The failure of a compiler that has said this: the first error is the hint, with what is known about
/// it. `otherwise` is the hint when no error is marked.
fn not_compiled(said: &str, known: &str, otherwise: String) -> Stop {
    let with_error = |error| format!("it does not compile; the first error is: {error}{known}");
    let hint = first_error(said).map_or(otherwise, with_error);
    Failure::new(hint).with(first_errors(said)).into()
}

/// The first error itself.
fn first_error(said: &str) -> Option<String> {
    said.lines().find(|line| is_error(line)).map(|line| with_own_paths(line.trim()))
}

/// Where a submission is in a sandbox, as compilers name it.
const PLACES: [&str; 3] = ["/work/crate/", "/work/", "./"];

/// What a compiler said, with the paths that the student knows.
fn with_own_paths(said: &str) -> String {
    let mut text = said.to_owned();
    for place in PLACES {
        // Only where a path begins.
        for before in ["\n", " ", "'", "\"", "`", "(", "\u{2018}"] {
            text = text.replace(&format!("{before}{place}"), before);
        }
        if let Some(rest) = text.strip_prefix(place) {
            text = rest.to_owned();
        }
    }
    text
}

/// Whether make tells in this line that it goes somewhere, or that a command has failed which has said
/// so itself.
fn is_makes_own(line: &str) -> bool {
    let line = line.trim_start();
    let level = |rest: &str| rest.starts_with(':') || rest.starts_with('[');
    line.strip_prefix("make").is_some_and(level) && !is_error(line)
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
    let said = with_own_paths(said);
    let all = lab::module_build::complaints(&said);
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
        assert_eq!(first_errors(said), "a.c:3:4: error: e\n   3 | x");
        assert_eq!(first_error(said).as_deref(), Some("a.c:3:4: error: e"));
        assert_eq!(first_errors("make: *** [all] Error 1\n"), "make: *** [all] Error 1");
        let no_rule = "make[2]: *** No rule to make target 'b.o'.  Stop.";
        assert_eq!(first_errors(&format!("make[1]: Entering directory '/x'\n{no_rule}")), no_rule);
    }

    #[test]
    fn paths_are_those_of_the_submission() {
        let said = "/work/driver/a.c:1: error: no\nIn file included from ./b.c:\n  --> /work/crate/src/main.rs\n";
        assert_eq!(
            with_own_paths(said),
            "driver/a.c:1: error: no\nIn file included from b.c:\n  --> src/main.rs\n"
        );
        assert_eq!(with_own_paths("src/work/a.c ../b.c"), "src/work/a.c ../b.c");
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
