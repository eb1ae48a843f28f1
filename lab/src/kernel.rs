//! The kernels of the guest's root: images to boot and headers to build against.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{files, variables};

/// The environment variable that chooses the guest's kernel.
pub const VARIABLE: &str = "KERNEL";

/// Which kernel a guest boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, clap::ValueEnum)]
pub enum Choice {
    /// Debian's stable one.
    #[default]
    #[value(name = "6.12")]
    V6_12,
    /// The newest.
    Newest,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        })
    }
}

impl Choice {
    /// What the user chose by [`VARIABLE`], or the default.
    pub fn from_environment() -> Result<Self> {
        let chosen = variables::one_of(VARIABLE, &["6.12", "newest"])?;
        Ok(if chosen == Some("newest") { Self::Newest } else { Self::V6_12 })
    }
}

/// A kernel of a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says.
    pub release: String,
    /// The image to boot, unless there are only headers.
    pub image: Option<PathBuf>,
    /// The folder with its modules and the link to its headers.
    pub modules: PathBuf,
    /// The root it is in, with what building modules for it needs.
    pub root: PathBuf,
}

/// All kernels of a root, oldest first.
pub fn list(root: &Path) -> Result<Vec<Kernel>> {
    let folder = root.join("usr/lib/modules");
    let mut kernels: Vec<Kernel> = files::entries(&folder)?
        .iter()
        .map(|entry| {
            let release = entry.file_name().to_string_lossy().into_owned();
            let modules = entry.path();
            // Newer Debian kernels keep the image with the modules.
            let images =
                [modules.join("vmlinuz"), root.join("boot").join(format!("vmlinuz-{release}"))];
            let image = images.into_iter().find(|image| image.is_file());
            Kernel { release, image, modules, root: root.to_owned() }
        })
        .collect();
    kernels.sort_by_key(|kernel| version(&kernel.release));
    Ok(kernels)
}

/// The newest kernel of a root.
pub fn newest(root: &Path) -> Result<Kernel> {
    list(root)?.pop().with_context(|| format!("{} has no kernel", root.display()))
}

/// The newest kernel of a root that can be booted.
pub fn bootable(root: &Path) -> Result<Kernel> {
    list(root)?.into_iter().rfind(|kernel| kernel.image.is_some()).with_context(|| {
        format!("{} has no kernel to boot; ./scripts/lab.sh --update fetches it", root.display())
    })
}

/// Checks that a new root has a kernel to boot, whichever it is.
pub fn check_bootable(root: &Path) -> Result<()> {
    ensure!(
        list(root)?.iter().any(|kernel| kernel.image.is_some()),
        "none of them is a kernel that boots"
    );
    Ok(())
}

/// Checks that a new root has a kernel to boot that is newer than the release's.
pub fn check_newer(root: &Path) -> Result<()> {
    let kernels = list(root)?;
    let releases: Vec<&str> = kernels.iter().map(|kernel| kernel.release.as_str()).collect();
    ensure!(
        kernels.iter().any(|kernel| kernel.image.is_some() && is_newer(&kernel.release)),
        "no kernel among them is newer than 6.12: {}",
        releases.join(", ")
    );
    Ok(())
}

/// Whether a release is of a later series than 6.12, as backports' kernels are.
pub fn is_newer(release: &str) -> bool {
    version(release) >= vec![6, 13]
}

/// The numbers at the start of a release, for comparing: `6.12.94+deb13` is 6, 12, 94.
pub fn version(release: &str) -> Vec<u32> {
    let end = release.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(release.len());
    let (numbers, rest) = release.split_at(end);
    // Debian's 6.1.0-47 counts its builds after the dash.
    let build = rest.strip_prefix('-').and_then(|rest| rest.split('-').next());
    numbers.split('.').chain(build).filter_map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these kernels; those that boot have an image.
    fn root(kernels: &[(&str, bool)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder can be made");
        for (release, boots) in kernels {
            let modules = root.path().join("usr/lib/modules").join(release);
            std::fs::create_dir_all(&modules).expect("writable");
            if *boots {
                std::fs::write(modules.join("vmlinuz"), "").expect("writable");
            }
        }
        root
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("6.12.94+deb13-cloud-amd64"), [6, 12, 94]);
        assert_eq!(version("6.1.0-47-cloud-amd64"), [6, 1, 0, 47]);
        assert!(version("6.9.1") < version("6.12.0"));
    }

    #[test]
    fn headers_alone_are_not_booted() {
        let root = root(&[
            ("6.1.0-47-cloud-amd64", false),
            ("6.12.94+deb13-cloud-amd64", true),
            ("6.12.107+deb13-cloud-amd64", true),
            ("7.3.1-cloud-amd64", false),
        ]);
        let kernel = bootable(root.path()).expect("there is one");
        assert_eq!(kernel.release, "6.12.107+deb13-cloud-amd64");
        assert_eq!(newest(root.path()).expect("there is one").release, "7.3.1-cloud-amd64");
        assert!(check_newer(root.path()).is_err(), "7.3.1 does not boot");
    }

    #[test]
    fn any_kernel_that_boots_is_enough() {
        assert!(check_bootable(root(&[("7.2.12-cloud-amd64", true)]).path()).is_ok());
        assert!(check_newer(root(&[("7.2.12-cloud-amd64", true)]).path()).is_ok());
        assert!(check_bootable(root(&[("7.2.12-cloud-amd64", false)]).path()).is_err());
        assert!(check_bootable(root(&[]).path()).is_err());
    }
}
