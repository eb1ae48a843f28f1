//! Where a result goes: a file, or standard output.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

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

    /// Writes the text.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, text: &str) -> Result<()> {
        match self {
            Output::Standard => match io::stdout().write_all(text.as_bytes()) {
                // The reader has seen enough, as head(1) may have.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
                written => written.context("cannot write to standard output"),
            },
            Output::File(path) => {
                fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
            }
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
        output.write("one").unwrap();
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
}
