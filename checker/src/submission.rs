//! What a student handed in: a driver, an application, a device, or several of them.
//!
//! They are named one by one, or found in what was handed in: a folder, an archive or a patch. It is
//! copied, archives are unpacked, and the new files of patches are taken out; then there are
//!
//! | part | where it is |
//! | --- | --- |
//! | driver | the folder `driver`; else all of it, when a `.c` file in it has `module_init` or `MODULE_LICENSE` in it (`module_pci_driver` and its like count) |
//! | application | the folder `app`; else `app.c`; else the only `.c` file with a `main` function |
//! | device | the folder `device`; else `device.rs`; else the only folder with a `Cargo.toml`; else the only `.rs` file that uses the device kit |
//!
//! What is none of these is passed over, by name ([`HandedIn`]).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use lab::{RunDir, files, progress};

use crate::build;
use crate::build::c_source::is_c;
use crate::handed_in::{HandedIn, PARTS, Part};
use crate::report::plain_line;
use crate::stop::Stop;

mod parts;

/// The parts of a submission.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// Its name, in reports.
    pub name: String,
    /// A folder or a `.c` file.
    pub driver: Option<PathBuf>,
    /// A `.c` file, or a folder with one.
    pub app: Option<PathBuf>,
    /// A crate's folder or a `.rs` file.
    pub device: Option<PathBuf>,
    /// What was found in it, and what not.
    pub handed_in: HandedIn,
    /// Where it was copied to, when its parts were looked for.
    copy: Option<Arc<RunDir>>,
}

/// A submission that was found in a folder of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its name, which no other one of the folder has.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

impl Submission {
    /// With parts that were named.
    pub fn named(
        driver: Option<PathBuf>,
        app: Option<PathBuf>,
        device: Option<PathBuf>,
    ) -> Result<Self> {
        let absolute = |part: Option<PathBuf>| -> Result<Option<PathBuf>> {
            part.map(|path| {
                path.canonicalize().with_context(|| format!("there is no {}", path.display()))
            })
            .transpose()
        };
        let mut named = Self {
            driver: absolute(driver)?,
            app: absolute(app)?,
            device: absolute(device)?,
            ..Self::default()
        };
        let name = named.parts().next().and_then(|(_, path)| path.file_stem());
        named.name = plain_line(&name.unwrap_or_default().to_string_lossy());
        let found = |(part, path): (Part, &Path)| (part, plain_line(&file_name(path)));
        named.handed_in.found = named.parts().map(found).collect();
        Ok(named)
    }

    /// Finds the parts in what was handed in: a folder, an archive or a patch.
    pub fn find(path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no folder {}", path.display()))?;
        let copy = RunDir::create("check-handed-in")?;
        let top = copy.path().join("files");
        let copied = build::copy::sources(&path, &top).map_err(|stop| match stop {
            Stop::Verdict(verdict) => {
                anyhow!("nothing to check in {}: {}", path.display(), verdict.message())
            }
            Stop::Lab(error) => error,
        })?;
        let mut found = parts::find(&copied, &top)?;
        found.name = name_of(&path);
        found.copy = Some(Arc::new(copy));
        Ok(found)
    }

    /// The same, if there is anything to check.
    pub fn not_empty(self, place: &Path) -> Result<Self> {
        if !self.is_empty() {
            return Ok(self);
        }
        let HandedIn { notes, passed_over, .. } = &self.handed_in;
        let seen: String =
            passed_over.iter().chain(notes).map(|line| format!("\n    {line}")).collect();
        bail!(
            "nothing to check in {}: put the driver into a folder `driver`, the application into \
             `app.c` and the device into `device.rs` or a folder `device`{seen}",
            place.display()
        );
    }

    /// Its parts, with their places.
    pub fn parts(&self) -> impl Iterator<Item = (Part, &Path)> {
        let places = [&self.driver, &self.app, &self.device];
        PARTS.into_iter().zip(places).filter_map(|(part, place)| Some((part, place.as_deref()?)))
    }

    /// Whether it has no part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts().next().is_none()
    }
}

/// A submission's name: that of its folder, or of its file without what says what form it has.
fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_file = path.is_file();
    let source = || Some(path.file_stem()?.to_string_lossy().into_owned());
    let stem = build::packed_stem(&name).or_else(source).filter(|_| is_file);
    plain_line(&stem.unwrap_or(name))
}

/// All submissions of a folder by name: each folder, archive, patch and source file in it. What else
/// there is, is named.
pub fn all(folder: &Path) -> Result<Vec<Found>> {
    let paths = files::entries(folder)?.into_iter().map(|entry| entry.path());
    let visible = |path: &PathBuf| !file_name(path).starts_with('.');
    let (found, others): (Vec<PathBuf>, Vec<PathBuf>) = paths.filter(visible).partition(|path| {
        let is_source = path.extension().is_some_and(|end| end == "rs") || is_c(path);
        path.is_dir() || build::packed_stem(&file_name(path)).is_some() || is_source
    });
    if !others.is_empty() {
        let names: Vec<String> = others.iter().map(|path| plain_line(&file_name(path))).collect();
        progress::say(&format!("passed over, as no submission: {}", names.join(", ")));
    }
    if found.is_empty() {
        bail!(
            "{} has no submissions: each is a folder, an archive, a patch or a source file",
            folder.display()
        );
    }
    Ok(with_names(found))
}

/// Gives each path a name of its own: that of [`name_of`], or the file's whole name when that is taken.
fn with_names(paths: Vec<PathBuf>) -> Vec<Found> {
    let mut taken = BTreeSet::new();
    let mut named = Vec::new();
    for path in paths {
        let mut name = name_of(&path);
        if taken.contains(&name) {
            name = plain_line(&file_name(&path));
        }
        while !taken.insert(name.clone()) {
            name.push('+');
        }
        named.push(Found { name, path });
    }
    named
}

/// Checks that a folder is one submission, and not a folder of several.
pub fn ensure_one(folder: &Path) -> Result<()> {
    let parts = ["driver", "app", "app.c", "device", "device.rs", "device.c"];
    let is_one = |path: &PathBuf| parts.iter().any(|part| path.join(part).exists());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut several: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_one).collect();
    several.sort();
    if let [first, second, ..] = &several[..] {
        bail!(
            "{folder} holds {} submissions ({}, {}, ...): to check each of them, write \
             --submissions {folder}",
            several.len(),
            plain_line(&file_name(first)),
            plain_line(&file_name(second)),
            folder = folder.display()
        );
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
