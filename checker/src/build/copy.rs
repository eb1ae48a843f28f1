//! Copies what was handed in to the submission's own folder, in the form that the builds take.
//!
//! Only files and folders are copied. A symbolic link could lead to anywhere on the host, so none
//! is followed. What a build leaves behind is left out, and a submission has a size. Archives are
//! unpacked, the new files of patches are taken out, and `.C` becomes `.c`.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow};
use lab::files;

use super::archive::{self, Broken, Member};
use super::{MAX_BYTES, patch};
use crate::stop::Stop;

/// The most files and folders of a submission.
const MAX_ENTRIES: usize = 2000;
/// How deep folders may be in each other.
const MAX_FOLDER_DEPTH: usize = 16;
/// How deep archives and patches may be in each other.
const MAX_NESTING: usize = 2;
/// Folders that are no sources.
const LEFT_OUT_FOLDERS: [&str; 5] = [".git", ".svn", "target", ".tmp_versions", "__MACOSX"];
/// The ends of names of files that a kernel build leaves behind; an old one would be taken for
/// what the sources make.
const LEFT_OUT_ENDS: [&str; 8] =
    [".ko", ".o", ".a", ".cmd", ".mod", ".mod.c", "Module.symvers", "modules.order"];

/// What was copied.
#[derive(Debug, Default)]
pub struct Copied {
    /// The files' paths, in a stable order, in the new folder.
    pub files: Vec<PathBuf>,
    /// What became of what was handed in that the student may wonder about.
    pub notes: Vec<String>,
    /// What was not taken, and what to do about it.
    pub passed_over: Vec<String>,
    entries: usize,
    bytes: u64,
}

/// Copies a folder's content, or a single file, into a folder.
pub fn sources(source: &Path, to: &Path) -> Result<Copied, Stop> {
    let metadata = fs::metadata(source).map_err(|error| {
        Stop::failed(format!(
            "there is nothing at {} ({error}): name what was handed in",
            source.display()
        ))
    })?;
    files::create_folder(to)?;
    let mut copied = Copied::default();
    if metadata.is_dir() {
        copied.folder(source, to, 0)?;
    } else {
        let name = source.file_name().context("a file has a name")?;
        copied.file(source, &to.join(name))?;
    }
    copied.files.sort();
    Ok(copied)
}

impl Copied {
    fn folder(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), Stop> {
        if depth > MAX_FOLDER_DEPTH {
            return Err(Stop::failed(format!(
                "more than {MAX_FOLDER_DEPTH} folders are in each other"
            )));
        }
        for entry in files::entries(from)? {
            let name = entry.file_name();
            let text = name.to_string_lossy();
            let (from, to) = (entry.path(), to.join(&name));
            // Not the link's target's: `DirEntry::metadata` does not follow links.
            let metadata =
                entry.metadata().with_context(|| format!("cannot read {}", from.display()))?;
            if metadata.is_dir() {
                if !LEFT_OUT_FOLDERS.contains(&text.as_ref()) {
                    self.count(0)?;
                    files::create_folder(&to)?;
                    self.folder(&from, &to, depth + 1)?;
                }
            } else if metadata.is_symlink() {
                self.notes.push(format!("{text} is a symbolic link, and was left out"));
            } else if metadata.is_file() && !is_left_over(&text) {
                self.file(&from, &to)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &Path, to: &Path) -> Result<(), Stop> {
        let file =
            fs::File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.place(to, &mut &file, 0)?;
        // A script may be run by a Makefile.
        if let (Ok(metadata), true) = (file.metadata(), to.is_file()) {
            let mode = metadata.permissions().mode() & 0o777 | 0o600;
            fs::set_permissions(to, fs::Permissions::from_mode(mode))
                .with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(())
    }

    /// Puts a file of an archive or a patch where its name says, inside of a folder.
    fn put(
        &mut self,
        folder: &Path,
        name: &Path,
        contents: &mut dyn Read,
        packed: usize,
    ) -> Result<(), Stop> {
        let parts: Vec<_> = name.components().filter(|part| *part != Component::CurDir).collect();
        let normal = |part: &Component<'_>| matches!(part, Component::Normal(_));
        if parts.is_empty() || parts.len() > MAX_FOLDER_DEPTH || !parts.iter().all(normal) {
            self.passed_over.push(format!(
                "{}: a name that leads out of the archive, or too deep",
                name.display()
            ));
            return Ok(());
        }
        let text = |part: &Component<'_>| part.as_os_str().to_string_lossy().into_owned();
        let names: Vec<String> = parts.iter().map(text).collect();
        let left_out = names.iter().any(|name| LEFT_OUT_FOLDERS.contains(&name.as_str()));
        if left_out || names.last().is_some_and(|name| is_left_over(name)) {
            return Ok(());
        }
        let to = folder.join(parts.iter().collect::<PathBuf>());
        files::create_folder(to.parent().unwrap_or(folder))?;
        self.place(&to, contents, packed)
    }

    /// Writes a file, or what is packed in it.
    fn place(&mut self, to: &Path, from: &mut dyn Read, packed: usize) -> Result<(), Stop> {
        let name = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut bytes = Vec::new();
        let room = MAX_BYTES - self.bytes;
        if let Err(error) = from.take(room + 1).read_to_end(&mut bytes) {
            if packed == 0 {
                return Err(Stop::Lab(anyhow!("cannot read {name}: {error}")));
            }
            self.passed_over.push(format!("{name}: it cannot be unpacked ({error})"));
            return Ok(());
        }
        let form = Form::of(&name);
        // What is packed counts when it is unpacked.
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.count(if form == Form::Plain || length > room { length } else { 0 })?;
        if form != Form::Plain && packed == MAX_NESTING {
            self.passed_over.push(format!("{name}: too many archives are in each other"));
            return Ok(());
        }
        match form {
            Form::Archive(kind) => self.unpack(kind, &bytes, &name, to, packed + 1),
            Form::Unknown => {
                self.passed_over.push(format!(
                    "{name}: this form of archive is not unpacked; hand in a .zip, .tar.gz or \
                     .tar.xz"
                ));
                Ok(())
            }
            Form::Patch => self.patch(&bytes, &name, to, packed + 1),
            Form::Plain => self.write(to, &name, &bytes),
        }
    }

    fn unpack(
        &mut self,
        kind: archive::Kind,
        bytes: &[u8],
        name: &str,
        to: &Path,
        packed: usize,
    ) -> Result<(), Stop> {
        let folder = free_name(&to.with_file_name(kind.stem(name)));
        files::create_folder(&folder)?;
        let unpacked = archive::unpack(kind, bytes, &mut |path, member| match member {
            Member::File(contents) => self.put(&folder, path, contents, packed),
            Member::Link => {
                self.notes.push(format!("{} is a link, and was left out", path.display()));
                Ok(())
            }
        });
        match unpacked {
            Ok(()) => self.notes.push(format!("{name} was unpacked")),
            Err(Broken::Stopped(stop)) => return Err(stop),
            Err(Broken::Archive(error)) => self.passed_over.push(format!(
                "{name}: the archive cannot be unpacked ({error}); pack the sources again, as .zip \
                 or .tar.gz"
            )),
        }
        Ok(())
    }

    /// Takes the new files out of a patch.
    fn patch(&mut self, bytes: &[u8], name: &str, to: &Path, packed: usize) -> Result<(), Stop> {
        let text = String::from_utf8_lossy(bytes);
        let (new, changed) = patch::files(&text);
        if new.is_empty() {
            self.passed_over.push(format!(
                "{name}: the patch has no new file; hand in the changed files themselves ({})",
                listed(&changed)
            ));
            return Ok(());
        }
        let names: Vec<&str> = new.iter().map(|(path, _)| *path).collect();
        self.notes.push(format!("taken out of {name}: {}", listed(&names)));
        if !changed.is_empty() {
            let changed = listed(&changed);
            self.notes.push(format!("what {name} changes was not needed: {changed}"));
        }
        let folder = free_name(&to.with_extension(""));
        for (path, contents) in &new {
            self.put(&folder, Path::new(path), &mut contents.as_bytes(), packed)?;
        }
        Ok(())
    }

    fn write(&mut self, to: &Path, name: &str, bytes: &[u8]) -> Result<(), Stop> {
        let mut to = to.to_path_buf();
        if to.extension().is_some_and(|extension| extension == "C") {
            to.set_extension("c");
            self.notes.push(format!("{name} is taken for C, as if its name ended in .c"));
        }
        let file = fs::OpenOptions::new().write(true).create_new(true).open(&to);
        match file.and_then(|mut file| io::Write::write_all(&mut file, bytes)) {
            Ok(()) => self.files.push(to),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.passed_over.push(format!("{name}: there is a file of this name already"));
            }
            Err(error) => {
                return Err(Stop::Lab(anyhow!("cannot write {}: {error}", to.display())));
            }
        }
        Ok(())
    }

    fn count(&mut self, bytes: u64) -> Result<(), Stop> {
        self.entries += 1;
        self.bytes += bytes;
        if self.entries > MAX_ENTRIES || self.bytes > MAX_BYTES {
            return Err(Stop::failed(format!(
                "it has more than {MAX_ENTRIES} files or {} MiB: hand in the sources alone",
                MAX_BYTES >> 20
            )));
        }
        Ok(())
    }
}

/// The form of a file, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Archive(archive::Kind),
    /// An archive that is not unpacked.
    Unknown,
    Patch,
    Plain,
}

impl Form {
    fn of(name: &str) -> Self {
        const UNKNOWN: [&str; 6] = [".rar", ".7z", ".tar.bz2", ".tbz2", ".tar.zst", ".tar.lz"];
        let name = name.to_lowercase();
        if let Some(kind) = archive::Kind::of(&name) {
            Self::Archive(kind)
        } else if UNKNOWN.iter().any(|end| name.ends_with(end)) {
            Self::Unknown
        } else if name.ends_with(".patch") || name.ends_with(".diff") {
            Self::Patch
        } else {
            Self::Plain
        }
    }
}

/// The name of an archive or a patch without what says that it is one; nothing for other files.
pub fn packed_stem(name: &str) -> Option<String> {
    match Form::of(name) {
        Form::Archive(kind) => Some(kind.stem(name)),
        Form::Patch | Form::Unknown => {
            Path::new(name).file_stem().map(|stem| stem.to_string_lossy().into_owned())
        }
        Form::Plain => None,
    }
}

/// Some names.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn is_left_over(name: &str) -> bool {
    LEFT_OUT_ENDS.iter().any(|end| name.ends_with(end))
}

/// A folder's name that nothing has yet.
fn free_name(folder: &Path) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let numbered = (2..).map(|number| folder.with_file_name(format!("{name}-{number}")));
    let mut names = std::iter::once(folder.to_path_buf()).chain(numbered);
    names.find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| folder.to_path_buf())
}

#[cfg(test)]
mod tests;
