//! One try to make a root of the packages of some suites, by mmdebstrap.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::failure::Failure;
use super::suites::Suites;
use super::{MIRROR_VARIABLE, Root};
use crate::follow::follow;
use crate::mmdebstrap::Mmdebstrap;
use crate::{process, progress};

/// Adds the suites next to the release.
const SETUP: &str = include_str!("setup.sh");
/// Gets what is no ordinary package, and writes the versions down.
const EXTRACTED: &str = include_str!("extracted.sh");
/// A root is read by others than its maker when it is shared, whatever the maker's umask is. The
/// scripts are shown to mmdebstrap through the environment.
const RUN: &str = r#"umask 022; exec "$@""#;
/// How often apt itself tries again when a connection breaks.
const RETRIES: &str = "--aptopt=Acquire::Retries \"3\"";

/// Where the packages come from: what the user named, or nothing for Debian's own mirrors.
#[must_use]
pub fn mirror() -> Option<OsString> {
    std::env::var_os(MIRROR_VARIABLE).filter(|mirror| !mirror.is_empty())
}

/// Runs mmdebstrap once. What it leaves in the folder after a failure is the caller's to remove.
pub fn fetch(
    root: &Root,
    suites: Suites,
    mirror: Option<&OsString>,
    folder: &Path,
    mmdebstrap: &Mmdebstrap,
    wait: &mut progress::Wait,
) -> Result<Result<(), Failure>> {
    let arguments = mmdebstrap.arguments();
    let mut command = process::contained("sh");
    command.args(["-c", RUN, "sh"]).args(&arguments);
    command.arg(if process::is_root() { "--mode=root" } else { "--mode=chrootless" });
    command.args(["--variant=extract", "--format=directory", RETRIES]);
    command.arg("--setup-hook=sh -c \"$LAB_ROOT_SETUP\" sh \"$1\"").env("LAB_ROOT_SETUP", SETUP);
    command.arg("--extract-hook=sh -c \"$LAB_ROOT_EXTRACTED\" sh \"$1\"");
    command.env("LAB_ROOT_EXTRACTED", EXTRACTED);
    command.env("LAB_ROOT_BASE", suites.base);
    command.env("LAB_ROOT_BESIDE", suites.beside.unwrap_or_default());
    command.env("LAB_ROOT_SOURCE", root.source.unwrap_or_default());
    command.env("LAB_ROOT_UNPACKED", root.unpacked.join(" "));
    if !root.architectures.is_empty() {
        command.arg(format!("--architectures={}", root.architectures.join(",")));
    }
    command.args(root.packages.iter().map(|package| format!("--include={package}")));
    command.arg(suites.base).arg(folder).args(mirror.map(|mirror| source_line(mirror, suites)));
    run(&mut command, root, wait)
}

/// What mmdebstrap takes for a mirror: a URL as it is, and one with apt's options before it, as in
/// `[trusted=yes] http://127.0.0.1:8000`, as a line of sources.list.
fn source_line(mirror: &OsString, suites: Suites) -> OsString {
    let mirror_text = mirror.to_string_lossy();
    if mirror_text.starts_with('[') {
        return format!("deb {mirror_text} {} main", suites.base).into();
    }
    mirror.clone()
}

fn run(
    command: &mut Command,
    root: &Root,
    wait: &mut progress::Wait,
) -> Result<Result<(), Failure>> {
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let (status, log) = follow(command, |line| {
        if let Some(stage) = line.and_then(stage) {
            wait.label(&format!("{}: {stage}", root.purpose));
        }
        wait.tick();
    })
    .context("cannot run mmdebstrap")?;
    Ok(if status.success() { Ok(()) } else { Err(Failure::of(&log)) })
}

/// The stage that a line of mmdebstrap's announces.
fn stage(line: &str) -> Option<&'static str> {
    let said = line.strip_prefix("I: ")?;
    [
        ("running apt-get update", "fetching package lists"),
        ("downloading packages", "downloading packages"),
        ("extracting archives", "unpacking packages"),
        ("running --extract-hook", "writing down the versions"),
    ]
    .iter()
    .find(|(start, _)| said.starts_with(start))
    .map(|(_, stage)| *stage)
}

#[cfg(test)]
mod tests {
    use super::super::suites;
    use super::*;

    #[test]
    fn stages_are_found_among_other_words() {
        assert_eq!(stage("I: extracting archives..."), Some("unpacking packages"));
        assert_eq!(stage("I: success in 3 seconds"), None);
        assert_eq!(stage("E: extracting archives"), None);
    }

    #[test]
    fn options_before_a_mirror_make_a_line_of_the_suite() {
        let line = |mirror: &str| source_line(&mirror.into(), suites::TESTING);
        assert_eq!(line("http://m"), "http://m");
        assert_eq!(line("[trusted=yes] http://m"), "deb [trusted=yes] http://m testing main");
    }
}
