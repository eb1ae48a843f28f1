//! Private roots: folders with the files of Debian packages, made without touching the system.
//!
//! A root is made by mmdebstrap's `extract` variant: packages are fetched, checked against
//! Debian's signatures and unpacked; none of their scripts are run. It is made under a temporary
//! name and renamed when complete; a stamp in it says what it was made of, so that a changed list
//! of packages makes a new one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::follow::follow;
use crate::mmdebstrap::Mmdebstrap;
use crate::{lock, paths, process, progress};

/// The Debian release the roots are made of.
const SUITE: &str = "trixie";
/// The environment variable that names another Debian mirror.
pub const MIRROR_VARIABLE: &str = "LAB_MIRROR";
/// What [`Root::setup`] usually is: it adds the releases next to [`SUITE`].
pub const SETUP: &str = include_str!("root-setup.sh");
/// Run by mmdebstrap in the new root: fetches the source package it is told.
const FETCH_SOURCE: &str = "mkdir -p \"$1/usr/src\" && cd \"$1/usr/src\" && \
    APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get source -qq --download-only \"$LAB_ROOT_SOURCE\" >&2";
/// The name of the stamp in a root, the file that says what the root was made of.
pub const STAMP: &str = ".lab-stamp";
/// How much of mmdebstrap's words to show when it failed.
const SHOWN_LINES: usize = 12;

/// What is to be in a root.
#[derive(Debug)]
pub struct Root {
    /// Its name, and its folder's in `target/lab`.
    pub name: &'static str,
    /// What it is for, as the user is told.
    pub purpose: &'static str,
    /// How much is downloaded, roughly, as the user is told.
    pub size: &'static str,
    /// Package names and apt patterns; their dependencies come along.
    pub packages: &'static [&'static str],
    /// A script that mmdebstrap runs in the new root before anything is fetched.
    pub setup: &'static str,
    /// A source package whose files are put into `usr/src`, not unpacked; the script has to add
    /// the list of source packages.
    pub source: Option<&'static str>,
    /// Files that must be there in the end: an apt pattern that matches nothing is no error.
    pub proof: &'static [&'static str],
    /// What else must be so in the end, where that takes more than names of files.
    pub check: fn(&Path) -> Result<()>,
}

impl Root {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        paths::lab().join(self.name)
    }

    /// Whether it is there and made of what it should be made of.
    #[must_use]
    pub fn ready(&self) -> bool {
        std::fs::read_to_string(self.path().join(STAMP)).is_ok_and(|stamp| stamp == self.stamp())
    }

    fn stamp(&self) -> String {
        let mut stamp = format!("{SUITE}\n{}\n{}", self.packages.join("\n"), self.setup);
        if let Some(source) = self.source {
            stamp.push_str(&format!("source {source}\n{FETCH_SOURCE}\n"));
        }
        stamp
    }

    /// Makes it unless it is there.
    pub fn ensure(&self, right: &lock::Preparing) -> Result<PathBuf> {
        if !self.ready() {
            self.make(right)?;
        }
        Ok(self.path())
    }

    fn make(&self, right: &lock::Preparing) -> Result<()> {
        process::check_namespaces()?;
        let partial = self.path().with_extension("partial");
        lock::remove_partial(&paths::lab(), right)?;
        let mmdebstrap = Mmdebstrap::get(right)?;
        let label = format!("fetching Debian packages: {} (about {})", self.purpose, self.size);
        let mut wait = progress::Wait::new(&label);
        let log = self.run_mmdebstrap(&mmdebstrap, &partial, &mut wait);
        let log = log.inspect_err(|_| {
            // What cannot be removed now is removed by the next run.
            let _ = lock::remove(&partial);
        })?;
        if let Err(lack) = self.complete(&partial) {
            lock::remove(&partial)?;
            bail!(
                "the Debian packages for {} are not complete: {lack:#}; the mirror may be \
                 incomplete, name another with {MIRROR_VARIABLE}=URL. mmdebstrap said:\n{log}",
                self.purpose
            );
        }
        std::fs::write(partial.join(STAMP), self.stamp())
            .with_context(|| format!("cannot write the stamp in {}", partial.display()))?;
        lock::remove(&self.path())?;
        std::fs::rename(&partial, self.path())
            .with_context(|| format!("cannot rename {}", partial.display()))?;
        wait.done(&format!("fetched {}", self.purpose));
        Ok(())
    }

    /// Checks that all is there that has to be.
    fn complete(&self, folder: &Path) -> Result<()> {
        if let Some(proof) = self.proof.iter().find(|proof| !folder.join(proof).exists()) {
            bail!("they came without {proof}");
        }
        (self.check)(folder)
    }

    /// Runs mmdebstrap and returns the end of what it said.
    fn run_mmdebstrap(
        &self,
        mmdebstrap: &Mmdebstrap,
        folder: &Path,
        wait: &mut progress::Wait,
    ) -> Result<String> {
        // The script is named to mmdebstrap through the environment: the path may have blanks.
        let setup = paths::lab().join("root-setup.sh");
        std::fs::write(&setup, self.setup)
            .with_context(|| format!("cannot write {}", setup.display()))?;
        let arguments = mmdebstrap.arguments();
        let mut command = process::namespaced(process::Identity::Same, &arguments[0]);
        command.args(&arguments[1..]);
        command.arg(if process::is_root() { "--mode=root" } else { "--mode=chrootless" });
        command.arg("--variant=extract").arg("--format=directory");
        command.arg("--setup-hook=sh \"$LAB_ROOT_SETUP\" \"$1\"").env("LAB_ROOT_SETUP", &setup);
        if let Some(source) = self.source {
            command.arg(format!("--extract-hook={FETCH_SOURCE}")).env("LAB_ROOT_SOURCE", source);
        }
        command.args(self.packages.iter().map(|package| format!("--include={package}")));
        command.arg(SUITE).arg(folder);
        command.args(std::env::var_os(MIRROR_VARIABLE).filter(|mirror| !mirror.is_empty()));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let (status, log) = follow(&mut command, |line| {
            if let Some(stage) = line.and_then(stage) {
                wait.label(&format!("{}: {stage}", self.purpose));
            }
            wait.tick();
        })?;
        let shown = last_lines(&log, SHOWN_LINES);
        if !status.success() {
            bail!(
                "could not fetch the Debian packages for {} (about {}): mmdebstrap ended with \
                 {}.\n{shown}Nothing was left behind. Is there a network? Then run this again; \
                 behind a proxy set http_proxy=URL, and for another Debian mirror \
                 {MIRROR_VARIABLE}=URL.",
                self.purpose,
                self.size,
                process::describe(status)
            );
        }
        Ok(shown)
    }
}

/// The stage that a line of mmdebstrap's announces.
fn stage(line: &str) -> Option<&'static str> {
    let said = line.strip_prefix("I: ")?;
    [
        ("running apt-get update", "fetching package lists"),
        ("downloading packages", "downloading packages"),
        ("extracting archives", "unpacking packages"),
        ("running --extract-hook", "fetching a source package"),
    ]
    .iter()
    .find(|(start, _)| said.starts_with(start))
    .map(|(_, stage)| *stage)
}

/// The end of a long log, indented, for an error message.
pub fn last_lines(lines: &[String], count: usize) -> String {
    let start = lines.len().saturating_sub(count);
    lines[start..].iter().fold(String::new(), |mut text, line| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "    {line}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_found_among_other_words() {
        assert_eq!(stage("I: extracting archives..."), Some("unpacking packages"));
        assert_eq!(stage("I: success in 3 seconds"), None);
        assert_eq!(stage("E: extracting archives"), None);
    }

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let lines = ["one", "two", "three"].map(str::to_owned);
        assert_eq!(last_lines(&lines, 2), "    two\n    three\n");
        assert_eq!(last_lines(&lines[..1], 2), "    one\n");
    }
}
