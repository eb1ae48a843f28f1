//! A device of the user's own, as source: in Rust with the device kit, or in C with QEMU's API.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::c_device::{self, CDevice};
use crate::device_crate::{self, DeviceCrate};

/// A device's source.
#[derive(Debug, Clone)]
pub enum DeviceSource {
    /// A Rust file, or a crate's folder.
    Rust(DeviceCrate),
    /// A C file, a folder of them, or a patch.
    C(CDevice),
}

impl DeviceSource {
    /// Finds out what there is at a path. C is compiled with sanitizers, unless not wanted.
    pub fn open(path: &Path, sanitize: bool) -> Result<Self> {
        let source = path.canonicalize().with_context(|| {
            format!(
                "no device at {}: name a Rust or C file, a folder of a crate or of C files, or a \
                 patch",
                path.display()
            )
        })?;
        Self::open_in(&source, &device_crate::folder_of(&source), sanitize)
    }

    /// As [`DeviceSource::open`], with another place for what is made of it.
    pub fn open_in(source: &Path, folder: &Path, sanitize: bool) -> Result<Self> {
        if source.join("Cargo.toml").is_file() || !CDevice::is_one(source) {
            if source.is_file() && source.extension().is_none_or(|extension| extension != "rs") {
                bail!(
                    "{} is neither a Rust file (.rs) nor a C file (.c) or a patch (.patch, .diff)",
                    source.display()
                );
            }
            return DeviceCrate::open_in(source, folder).map(Self::Rust);
        }
        Ok(Self::C(CDevice::new(source, folder, sanitize)))
    }

    /// What the author edits: the file, or the folder.
    pub fn source(&self) -> &Path {
        match self {
            Self::Rust(device) => device.source(),
            Self::C(device) => device.source(),
        }
    }

    /// Builds it and returns the program. What is wrong with the source, the compiler tells the
    /// user.
    pub fn build(&self) -> Result<PathBuf> {
        match self {
            Self::Rust(device) => device.build(),
            Self::C(device) => device.build(),
        }
    }

    /// Whether its build depends on a file.
    pub fn depends_on(&self, path: &Path) -> bool {
        match self {
            Self::Rust(_) => device_crate::is_source(path),
            Self::C(_) => c_device::is_source(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn sources_are_told_apart_by_what_is_there() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let (made, other) = (folder.path().join("made"), folder.path().join("other"));
        fs::create_dir(&other).expect("writable");
        let open = |path: &Path| DeviceSource::open_in(path, &made, true);
        let kind = |name: &str| {
            let path = other.join(name);
            fs::write(&path, "").expect("writable");
            open(&path)
        };
        assert!(matches!(kind("d.rs"), Ok(DeviceSource::Rust(_))));
        assert!(open(&other).is_err_and(|error| error.to_string().contains("has no Cargo.toml")));
        assert!(matches!(kind("d.c"), Ok(DeviceSource::C(_))));
        assert!(matches!(kind("d.patch"), Ok(DeviceSource::C(_))));
        assert!(matches!(open(&other), Ok(DeviceSource::C(_))), "a folder with a C file");
        let refused = kind("d.txt").expect_err("no device").to_string();
        assert!(refused.contains("neither a Rust file (.rs) nor a C file (.c)"), "{refused}");
        fs::write(other.join("Cargo.toml"), "").expect("writable");
        assert!(matches!(open(&other), Ok(DeviceSource::Rust(_))), "a crate with C in it");
    }

    #[test]
    fn a_device_depends_on_files_of_its_language() {
        let device = CDevice::new(Path::new("/d.c"), Path::new("/made"), true);
        let device = DeviceSource::C(device);
        let [header, rust] = ["/d.h", "/d.rs"].map(|name| device.depends_on(Path::new(name)));
        assert!(header && !rust);
    }
}
