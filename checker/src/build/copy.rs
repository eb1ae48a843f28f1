//! Copies what was handed in to the submission's own folder.
//!
//! Only files and folders are copied. A symbolic link could lead to anywhere on the host, so none
//! is followed. What a build leaves behind is left out, and a submission has a size.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use super::Failure;

/// The most bytes of a submission.
const MOST_BYTES: u64 = 32 << 20;
/// The most files and folders of a submission.
const MOST_ENTRIES: usize = 2000;
/// How deep folders may be in each other.
const MOST_DEEP: usize = 16;
/// Folders that are no sources.
const LEFT_OUT_FOLDERS: [&str; 4] = [".git", ".svn", "target", ".tmp_versions"];
/// The ends of names of files that a kernel build leaves behind; an old one would be taken for
/// what the sources make.
const LEFT_OUT_ENDS: [&str; 8] =
    [".ko", ".o", ".a", ".cmd", ".mod", ".mod.c", "Module.symvers", "modules.order"];

/// What was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// The files' paths, in a stable order, in the new folder.
    pub files: Vec<PathBuf>,
    /// What was left out that the student may wonder about.
    pub notes: Vec<String>,
    entries: usize,
    bytes: u64,
}

/// Copies a folder's content, or a single file, into a folder.
pub fn sources(source: &Path, to: &Path) -> Result<Copied, Failure> {
    let metadata = fs::metadata(source).map_err(|error| {
        Failure::hint(format!(
            "there is nothing at {} ({error}): name what was handed in",
            source.display()
        ))
    })?;
    create(to)?;
    let mut copied = Copied::default();
    if metadata.is_dir() {
        copied.folder(source, to, 0)?;
    } else {
        let name = source.file_name().context("a file has a name")?;
        copied.file(source, &to.join(name), metadata.len())?;
    }
    copied.files.sort();
    Ok(copied)
}

impl Copied {
    fn folder(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), Failure> {
        if depth > MOST_DEEP {
            return Err(Failure::hint(format!("more than {MOST_DEEP} folders are in each other")));
        }
        let entries =
            fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            let (from, to) = (entry.path(), to.join(&name));
            // Not the link's target's: `DirEntry::metadata` does not follow links.
            let metadata =
                entry.metadata().with_context(|| format!("cannot read {}", from.display()))?;
            if metadata.is_dir() {
                if !LEFT_OUT_FOLDERS.contains(&text.as_ref()) {
                    self.count(0)?;
                    create(&to)?;
                    self.folder(&from, &to, depth + 1)?;
                }
            } else if metadata.is_symlink() {
                self.notes.push(format!("{text} is a symbolic link, and was left out"));
            } else if metadata.is_file() && !LEFT_OUT_ENDS.iter().any(|end| text.ends_with(end)) {
                self.file(&from, &to, metadata.len())?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path, bytes: u64) -> Result<(), Failure> {
        self.count(bytes)?;
        fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        self.files.push(to.to_path_buf());
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), Failure> {
        self.entries += 1;
        self.bytes += bytes;
        if self.entries > MOST_ENTRIES || self.bytes > MOST_BYTES {
            return Err(Failure::hint(format!(
                "it has more than {MOST_ENTRIES} files or {} MiB: hand in the sources alone",
                MOST_BYTES >> 20
            )));
        }
        Ok(())
    }
}

fn create(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder)
        .map_err(|error| Failure::Lab(anyhow!("cannot create {}: {error}", folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint(result: Result<Copied, Failure>) -> String {
        match result {
            Err(Failure::Submission { hint, .. }) => hint,
            other => panic!("{other:?} is no submission's failure"),
        }
    }

    #[test]
    fn links_and_leftovers_stay_behind() {
        let from = tempfile::tempdir().expect("a folder can be made");
        let to = tempfile::tempdir().expect("a folder can be made");
        let path = |name: &str| from.path().join(name);
        fs::create_dir_all(path("sub/.git")).expect("writable");
        for name in ["a.c", "a.ko", ".a.o.cmd", "sub/b c.h", "sub/.git/config"] {
            fs::write(path(name), "text").expect("writable");
        }
        std::os::unix::fs::symlink("/etc/passwd", path("passwd.c")).expect("writable");
        std::os::unix::fs::symlink("/", path("root")).expect("writable");
        let copied = sources(from.path(), to.path()).expect("it is small");
        let names: Vec<String> =
            copied.files.iter().map(|file| crate::build::shown(file, to.path())).collect();
        assert_eq!(names, ["a.c", "sub/b c.h"]);
        assert_eq!(copied.notes.len(), 2, "{:?}", copied.notes);
    }

    #[test]
    fn a_huge_submission_is_refused() {
        let from = tempfile::tempdir().expect("a folder can be made");
        let to = tempfile::tempdir().expect("a folder can be made");
        let file = fs::File::create(from.path().join("large.bin")).expect("writable");
        file.set_len(MOST_BYTES + 1).expect("a file with a hole");
        assert!(hint(sources(from.path(), to.path())).contains("more than"));
        assert!(hint(sources(&from.path().join("absent"), to.path())).contains("nothing at"));
    }
}
