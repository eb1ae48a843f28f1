//! Fetches the packages of a root by mmdebstrap, from one suite after the other.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::Root;
use super::failure::{Failure, Kind};
use super::suites::Suites;
use crate::follow::follow;
use crate::{lock, process, progress};

/// Adds the suites next to the release.
const SETUP: &str = include_str!("setup.sh");
/// Gets what is no ordinary package, and writes the versions down.
const EXTRACTED: &str = include_str!("extracted.sh");
/// A root is read by others than its maker when it is shared, whatever the maker's umask is. The
/// scripts are shown to mmdebstrap through the environment.
const RUN: &str = r#"umask 022; exec "$@""#;
/// How often a suite is tried whose files do not come: a mirror is updated in a moment, mostly.
const TRIES: u32 = 2;
/// How often apt itself tries again when a connection breaks.
const RETRIES: &str = "--aptopt=Acquire::Retries \"3\"";

/// A root that is being fetched.
pub struct Fetch<'a> {
    pub root: &'a Root,
    /// Where the packages come from; nothing for Debian's own mirrors.
    pub mirror: Option<&'a OsString>,
    /// Where it is made.
    pub folder: &'a Path,
    /// The words that start it.
    pub mmdebstrap: Vec<String>,
    pub wait: progress::Wait,
}

impl Fetch<'_> {
    /// Tries the suites until one has what the root is for, and returns it.
    pub fn try_suites(&mut self) -> Result<Suites> {
        let Root { purpose, size, suites, .. } = self.root;
        let mut tried = String::new();
        let mut advice = String::new();
        for suites in *suites {
            let Some(failure) = self.try_suite(*suites)? else {
                return Ok(*suites);
            };
            progress::say(&format!("cannot get {purpose} from Debian's {suites}"));
            tried.push_str(&format!("  tried {suites}:\n{}", failure.lines()));
            advice = failure.advice();
            if failure.kind == Kind::Unreachable {
                break;
            }
        }
        bail!(
            "cannot get the Debian packages for {purpose} (about {size}); nothing was left \
             behind.\n{tried}{advice}"
        );
    }

    /// Tries a suite, again if its files did not come; nothing when it has what the root is for.
    fn try_suite(&mut self, suites: Suites) -> Result<Option<Failure>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Some(failure) = self.attempt(suites)? else {
                return Ok(None);
            };
            lock::remove(self.folder)?;
            if failure.kind != Kind::NotFetched || tries == TRIES {
                return Ok(Some(failure));
            }
            progress::say(&format!("a package of Debian's {suites} did not come; trying again"));
        }
    }

    /// Runs mmdebstrap once. What it leaves in the folder after a failure is the caller's to remove.
    fn attempt(&mut self, suites: Suites) -> Result<Option<Failure>> {
        let mut command = self.command(suites);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let (status, log) = follow(&mut command, |line| {
            if let Some(stage) = line.and_then(stage) {
                self.wait.label(&format!("{}: {stage}", self.root.purpose));
            }
            self.wait.tick();
        })
        .context("cannot run mmdebstrap")?;
        if !status.success() {
            return Ok(Some(Failure::of(&log)));
        }
        Ok(self.root.complete(self.folder).err().map(|lack| Failure::incomplete(&lack)))
    }

    fn command(&self, suites: Suites) -> Command {
        let root = self.root;
        let mut command = process::contained("sh");
        command.args(["-c", RUN, "sh"]).args(&self.mmdebstrap);
        command.arg(if process::is_root() { "--mode=root" } else { "--mode=chrootless" });
        command.args(["--variant=extract", "--format=directory", RETRIES]);
        command.arg("--setup-hook=sh -c \"$LAB_ROOT_SETUP\" sh \"$1\"");
        command.env("LAB_ROOT_SETUP", SETUP);
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
        command.arg(suites.base).arg(self.folder);
        command.args(self.mirror.map(|mirror| source_line(mirror, suites)));
        command
    }
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
