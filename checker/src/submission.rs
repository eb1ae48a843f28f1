//! What somebody handed in: a driver, an application, a device, or several of them.
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

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use lab::RunDir;
use serde::{Deserialize, Serialize};

use crate::build;
use crate::report::plain_line;

mod parts;

/// A part of a submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// A kernel module.
    Driver,
    /// A program that uses the driver.
    App,
    /// A device.
    Device,
}

/// All of them.
pub const PARTS: [Part; 3] = [Part::Driver, Part::App, Part::Device];

impl Part {
    /// How the ids of its checks begin.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Driver => "driver",
            Self::App => "app",
            Self::Device => "device",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "driver",
            Self::App => "application",
            Self::Device => "device",
        })
    }
}

/// What was looked for in a submission, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct HandedIn {
    /// The parts that are there, with their places.
    pub found: Vec<(Part, String)>,
    /// The parts that were looked for and are not there.
    pub missing: Vec<Part>,
    /// What became of archives, patches and names.
    pub notes: Vec<String>,
    /// What was not looked at, and what to do about it.
    pub passed_over: Vec<String>,
}

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
        let parts = [absolute(driver)?, absolute(app)?, absolute(device)?];
        let name = parts.iter().flatten().next().and_then(|path| path.file_stem());
        let name = plain_line(&name.unwrap_or_default().to_string_lossy());
        let named = PARTS.iter().zip(&parts).filter_map(|(part, path)| {
            let name = path.as_ref()?.file_name()?.to_string_lossy();
            Some((*part, plain_line(&name)))
        });
        let handed_in = HandedIn { found: named.collect(), ..HandedIn::default() };
        let [driver, app, device] = parts;
        Ok(Self { name, driver, app, device, handed_in, copy: None })
    }

    /// Finds the parts in what was handed in: a folder, an archive or a patch.
    pub fn find(path: &Path) -> Result<Self> {
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no folder {}", path.display()))?;
        let copy = RunDir::create("check-handed-in")?;
        let top = copy.path().join("files");
        let copied = build::copy::sources(&path, &top).map_err(|failure| match failure {
            build::Failure::Submission { hint, .. } => {
                anyhow::anyhow!("nothing to check in {}: {hint}", path.display())
            }
            build::Failure::Lab(error) => error,
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

    /// Whether it has no part.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.driver.is_none() && self.app.is_none() && self.device.is_none()
    }
}

/// A submission's name: that of its folder, or of its file without what says what form it has.
pub(crate) fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_file = path.is_file();
    let stem = build::packed_stem(&name).filter(|_| is_file);
    plain_line(&stem.unwrap_or(name))
}

/// All submissions of a folder, one in each folder, archive or patch in it, by name.
pub fn all(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let is_one = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let packed = path.is_file() && build::packed_stem(&name).is_some();
        (path.is_dir() || packed) && !name.starts_with('.')
    };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(is_one).collect();
    found.sort();
    if found.is_empty() {
        bail!("{} has no folders: each submission is one, or an archive", folder.display());
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
