//! Private roots: folders with the files of Debian packages, made without touching the system.
//!
//! A root is made by mmdebstrap's `extract` variant: packages are fetched, checked against
//! Debian's signatures and unpacked; none of their scripts are run. It is made under a temporary
//! name and put in its place when it is complete. A stamp in it says what it was asked to be made
//! of, so that a changed list of packages makes a new one, and a list says which versions apt
//! chose.
//!
//! Debian's archive moves: a root names the suites that can have its packages, and they are tried
//! one after the other. A root that is there is used as it is, whatever the archive does.

pub mod failure;
mod fetch;
pub mod suites;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::arch::Arch;
use crate::{files, lock, mmdebstrap, paths, process, progress, variables};
use fetch::Fetch;
use suites::Suites;

/// The environment variable that names another Debian mirror.
pub const MIRROR_VARIABLE: &str = "LAB_MIRROR";
/// The name of the stamp in a root, the file that says what the root was to be made of.
pub const STAMP: &str = ".lab-stamp";
/// The name of the list of versions in a root: a package, its version and its architecture a line,
/// after a line with the suites.
pub const VERSIONS: &str = ".lab-versions";
/// The list of all roots' versions, in the folder of the roots.
pub const ALL_VERSIONS: &str = "versions.txt";

/// What is to be in a root.
#[derive(Debug, Clone)]
pub struct Root {
    /// Its name, and its folder's.
    pub name: String,
    /// What it is for, as the user is told.
    pub purpose: &'static str,
    /// How much is downloaded, roughly, as the user is told.
    pub size: &'static str,
    /// The architecture of the guests that it is for.
    pub arch: Arch,
    /// Where the packages come from: the first suites that have what the root is for.
    pub suites: &'static [Suites],
    /// The architectures, by Debian's names, whose packages can be in it: the first one's are named
    /// plainly. None means this system's.
    pub architectures: Vec<&'static str>,
    /// Names of packages, separated by commas; their dependencies come along.
    pub packages: Vec<String>,
    /// Packages that are unpacked without what they depend on. Of a kernel's headers, the other
    /// packages of that kernel come along.
    pub unpacked: Vec<String>,
    /// A source package whose files are put into `usr/src`, not unpacked.
    pub source: Option<&'static str>,
    /// Files that must be there in the end.
    pub proof: Vec<String>,
    /// What else must be so in the end, where that takes more than names of files.
    pub check: fn(&Path, Arch) -> Result<()>,
}

impl Default for Root {
    /// An empty one, for guests like the host.
    fn default() -> Self {
        Self {
            name: String::new(),
            purpose: "",
            size: "",
            arch: Arch::host(),
            suites: &[],
            architectures: Vec::new(),
            packages: Vec::new(),
            unpacked: Vec::new(),
            source: None,
            proof: Vec::new(),
            check: |_, _| Ok(()),
        }
    }
}

impl Root {
    /// Where it is, or will be: among the packages that are shared, if it is ready there.
    pub fn path(&self) -> PathBuf {
        let shared = paths::packages().join(&self.name);
        if self.ready_at(&shared) { shared } else { paths::lab().join(&self.name) }
    }

    /// Whether it is there and made of what it should be made of.
    pub fn ready(&self) -> bool {
        self.ready_at(&self.path())
    }

    fn ready_at(&self, path: &Path) -> bool {
        std::fs::read_to_string(path.join(STAMP)).is_ok_and(|stamp| stamp == self.stamp())
    }

    fn stamp(&self) -> String {
        let suites: Vec<String> = self.suites.iter().map(Suites::to_string).collect();
        let source = self.source.unwrap_or("none");
        let mut stamp =
            format!("{}\n{}\nsource {source}\n", suites.join(", "), self.packages.join("\n"));
        if !self.architectures.is_empty() {
            stamp.push_str(&format!("of {}\n", self.architectures.join(",")));
        }
        for package in &self.unpacked {
            stamp.push_str(&format!("unpacked {package}\n"));
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

    /// The same, without the lock when it is there: another process may prepare something else.
    pub fn get(&self) -> Result<PathBuf> {
        if self.ready() { Ok(self.path()) } else { self.ensure(&lock::preparing()?) }
    }

    /// Makes it anew beside the one that is there, and puts it in its place when it is complete.
    pub fn make(&self, right: &lock::Preparing) -> Result<()> {
        let folder = paths::lab();
        lock::remove_partial(&folder, right)?;
        self.make_in(&folder, variables::get(MIRROR_VARIABLE).as_ref(), right)?;
        list_versions(&folder)
    }

    /// As [`Root::make`], in another folder and from another mirror.
    pub fn make_in(
        &self,
        folder: &Path,
        mirror: Option<&OsString>,
        right: &lock::Preparing,
    ) -> Result<()> {
        let partial = folder.join(&self.name).with_extension("partial");
        let label = format!("fetching Debian packages: {} (about {})", self.purpose, self.size);
        let mut fetch = Fetch {
            root: self,
            mirror,
            folder: &partial,
            mmdebstrap: mmdebstrap::get(right)?,
            wait: progress::Wait::new(&label),
        };
        let suites = fetch.try_suites()?;
        self.finish(&partial, suites)?;
        exchange(&partial, &folder.join(&self.name))?;
        fetch.wait.done(&format!("fetched {} from Debian's {suites}", self.purpose));
        Ok(())
    }

    /// Checks that all is there that has to be.
    fn complete(&self, folder: &Path) -> Result<()> {
        if let Some(proof) = self.proof.iter().find(|proof| !folder.join(proof).exists()) {
            bail!("they have no {proof}");
        }
        (self.check)(folder, self.arch)
    }

    /// Writes what the root was made of into it.
    fn finish(&self, folder: &Path, suites: Suites) -> Result<()> {
        let path = folder.join(VERSIONS);
        let chosen = files::read_text(&path)?;
        std::fs::write(&path, format!("# {suites}\n{chosen}"))
            .and_then(|()| std::fs::write(folder.join(STAMP), self.stamp()))
            .with_context(|| format!("cannot write to {}", folder.display()))
    }

    /// The versions that apt chose for this root: its suites, and a package a line.
    pub fn versions(&self) -> Option<String> {
        std::fs::read_to_string(self.path().join(VERSIONS)).ok()
    }
}

/// Puts a complete root in its place at once, and removes the one that was there.
fn exchange(partial: &Path, place: &Path) -> Result<()> {
    if place.exists() && renameat_with(CWD, partial, CWD, place, RenameFlags::EXCHANGE).is_ok() {
        return lock::remove(partial);
    }
    // There is none yet, or this file system cannot exchange names.
    lock::remove(place)?;
    std::fs::rename(partial, place)
        .with_context(|| format!("cannot put {} in its place", partial.display()))
}

/// Writes the versions of all roots in a folder to one file, which a report can name.
fn list_versions(folder: &Path) -> Result<()> {
    let mut text = String::new();
    for entry in files::entries(folder)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let list = std::fs::read_to_string(entry.path().join(VERSIONS)).unwrap_or_default();
        text.extend(list.lines().map(|line| format!("{name} {line}\n")));
    }
    files::write(folder.join(ALL_VERSIONS), text)
}

/// A command that runs a program with the libraries of a private root.
#[must_use]
pub fn command(root: &Path, program: &Path) -> Command {
    let [loader, option, libraries] = loader(root);
    let mut command = process::tied(loader);
    command.args([option, libraries]).arg(program);
    command
}

/// What comes before a program that is to have the libraries of a private root: that root's loader
/// and its arguments.
pub fn loader(root: &Path) -> [String; 3] {
    let inside = |path: &str| root.join("usr").join(path).display().to_string();
    let host = Arch::host();
    [inside(host.loader()), "--library-path".to_owned(), inside(host.libraries())]
}

/// The end of a long log, indented, for an error message.
pub fn last_lines(lines: &[String], count: usize) -> String {
    let start = lines.len().saturating_sub(count);
    lines[start..].iter().map(|line| format!("    {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_of_a_long_log_is_shown() {
        let lines = ["one", "two", "three"].map(str::to_owned);
        assert_eq!(last_lines(&lines, 2), "    two\n    three\n");
        assert_eq!(last_lines(&lines[..1], 2), "    one\n");
    }

    #[test]
    fn a_root_takes_the_place_of_another_and_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (partial, place) = (folder.path().join("a.partial"), folder.path().join("a"));
        for content in ["first", "second"] {
            std::fs::create_dir(&partial).expect("writable");
            std::fs::write(partial.join(content), "").expect("writable");
            exchange(&partial, &place).expect("both can be renamed");
            assert!(place.join(content).exists());
            assert!(!partial.exists());
        }
        assert!(!place.join("first").exists());
    }

    #[test]
    fn versions_of_all_roots_are_listed_with_their_names() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        for name in ["guest", "qemu"] {
            std::fs::create_dir(folder.path().join(name)).expect("writable");
            std::fs::write(folder.path().join(name).join(VERSIONS), "# trixie\na 1 all\n")
                .expect("writable");
        }
        list_versions(folder.path()).expect("writable");
        let text = std::fs::read_to_string(folder.path().join(ALL_VERSIONS)).expect("written");
        assert_eq!(text, "guest # trixie\nguest a 1 all\nqemu # trixie\nqemu a 1 all\n");
    }
}
