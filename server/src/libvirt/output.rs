//! Where a result goes: a file, or standard output.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::stdout;

/// Where a result goes.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// To standard output.
    Standard,
    /// To a file.
    File(PathBuf),
}

impl Output {
    /// What the user named, or a file in the current folder.
    pub fn new(named: Option<&Path>, default: &str) -> Self {
        match named {
            Some(path) if path == Path::new("-") => Output::Standard,
            Some(path) => Output::File(path.to_path_buf()),
            None => Output::File(Path::new(".").join(default)),
        }
    }

    /// Checks that nothing else is overwritten. The same text may be there already.
    ///
    /// # Errors
    /// There is another text, and no `force`.
    pub fn check(&self, text: &str, force: bool) -> Result<()> {
        let Output::File(path) = self else { return Ok(()) };
        // What is no regular file, such as /dev/null, keeps nothing that could be lost.
        if force || !path.is_file() {
            return Ok(());
        }
        let there = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        if there != text.as_bytes() {
            bail!(
                "{} is there already and says something else: write over it by --force, or name \
                 another file by --config-out or --domain-out",
                path.display()
            );
        }
        Ok(())
    }

    /// Writes the text to a temporary file; [`Staged::publish`] gives it its name.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn stage<'a>(&'a self, text: &'a str) -> Result<Staged<'a>> {
        let Output::File(named) = self else { return Ok(Staged::Direct(self, text)) };
        // A link stays one, and its target gets the text.
        let path = fs::canonicalize(named).unwrap_or_else(|_| named.clone());
        let there = match fs::symlink_metadata(&path) {
            Ok(there) if there.is_file() => Some(there.permissions()),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // Such as /dev/null, whose name is not to be given away.
            _ => return Ok(Staged::Direct(self, text)),
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let permissions = there.clone().unwrap_or_else(|| fs::Permissions::from_mode(0o666));
        let stage = || {
            let mut file = tempfile::Builder::new()
                .permissions(permissions)
                .tempfile_in(folder.unwrap_or(Path::new(".")))?;
            if let Some(there) = there {
                file.as_file().set_permissions(there)?;
            }
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            io::Result::Ok(file)
        };
        let file = stage().with_context(|| format!("cannot write {}", named.display()))?;
        Ok(Staged::File { file, path })
    }
}

/// A result that is ready to get its name.
#[derive(Debug)]
pub enum Staged<'a> {
    /// What is no regular file gets the text only now.
    Direct(&'a Output, &'a str),
    /// A file, which replaces what is there in one step.
    File {
        /// The text.
        file: NamedTempFile,
        /// Its name to be.
        path: PathBuf,
    },
}

impl Staged<'_> {
    /// Gives the text its name.
    ///
    /// # Errors
    /// It cannot have it.
    pub fn publish(self) -> Result<()> {
        match self {
            Staged::Direct(Output::Standard, text) => {
                stdout::print(text.as_bytes()).context("cannot write to standard output")
            }
            Staged::Direct(Output::File(path), text) => {
                fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
            }
            Staged::File { file, path } => match file.persist(&path) {
                Ok(_) => Ok(()),
                Err(failed) => {
                    Err(failed.error).with_context(|| format!("cannot write {}", path.display()))
                }
            },
        }
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::Standard => f.write_str("standard output"),
            Output::File(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_another_text_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let output = Output::new(Some(&path), "unused");
        output.check("one", false).unwrap();
        output.stage("one").unwrap().publish().unwrap();
        output.check("one", false).unwrap();
        let error = output.check("two", false).unwrap_err().to_string();
        assert!(error.contains("--force"), "{error}");
        output.check("two", true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn a_dash_is_standard_output() {
        assert_eq!(Output::new(Some(Path::new("-")), "a"), Output::Standard);
        assert_eq!(Output::new(None, "a"), Output::File("./a".into()));
    }

    #[test]
    fn a_file_gets_its_name_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let output = Output::new(Some(&path), "unused");
        fs::write(&path, "before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let staged = output.stage("after").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"before");
        drop(staged);
        assert_eq!((fs::read(&path).unwrap(), names()), (b"before".to_vec(), 1), "nothing is left");
        output.stage("after").unwrap().publish().unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"after".to_vec(), 0o640));

        // As others are made, by the user's mask.
        let other = folder.path().join("other");
        fs::write(&other, "").unwrap();
        let new = folder.path().join("new");
        Output::new(Some(&new), "unused").stage("x").unwrap().publish().unwrap();
        assert_eq!(mode(&new), mode(&other));
    }

    #[test]
    fn what_is_no_regular_file_keeps_being_one() {
        let folder = tempfile::tempdir().unwrap();
        let (link, target) = (folder.path().join("link"), folder.path().join("target"));
        fs::write(&target, "before").unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        Output::new(Some(&link), "unused").stage("after").unwrap().publish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"after");
        let null = Output::new(Some(Path::new("/dev/null")), "unused");
        null.stage("text").unwrap().publish().unwrap();
        assert!(!Path::new("/dev/null").is_file());
        let folder_itself = Output::new(Some(folder.path()), "unused");
        assert!(folder_itself.stage("text").unwrap().publish().is_err());
        assert!(Output::new(Some(&folder.path().join("no/a")), "unused").stage("text").is_err());
    }
}
