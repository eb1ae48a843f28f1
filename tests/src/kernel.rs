//! The kernels of the guest's root: images to boot and headers to build against.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::world;

/// The environment variable that chooses the guest's kernel.
pub const VARIABLE: &str = "KERNEL";

/// Which kernel a guest boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// Debian's stable kernel, which boots fastest.
    #[default]
    V6_12,
    /// The newest there is, which is newer than that.
    Newest,
}

impl Choice {
    /// What the user chose by [`VARIABLE`], or the default.
    pub fn from_environment() -> Result<Self> {
        match std::env::var(VARIABLE).as_deref() {
            Err(_) | Ok("" | "6.12") => Ok(Self::V6_12),
            Ok("newest") => Ok(Self::Newest),
            Ok(other) => bail!("{VARIABLE}={other}: choose 6.12 or newest"),
        }
    }
}

/// A kernel of the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// What `uname -r` says.
    pub release: String,
    /// The image to boot, unless there are only headers.
    pub image: Option<PathBuf>,
    /// The folder with its modules and the link to its headers.
    pub modules: PathBuf,
}

/// All kernels of a root, oldest first.
pub fn list(root: &Path) -> Result<Vec<Kernel>> {
    let folder = root.join("usr/lib/modules");
    let entries =
        std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut kernels: Vec<Kernel> = entries
        .flatten()
        .map(|entry| {
            let release = entry.file_name().to_string_lossy().into_owned();
            let modules = entry.path();
            // Newer Debian kernels keep the image with the modules.
            let images =
                [modules.join("vmlinuz"), root.join("boot").join(format!("vmlinuz-{release}"))];
            let image = images.into_iter().find(|image| image.is_file());
            Kernel { release, image, modules }
        })
        .collect();
    kernels.sort_by_key(|kernel| version(&kernel.release));
    Ok(kernels)
}

/// The kernel of a choice that can be booted.
pub fn choose(kernels: &[Kernel], choice: Choice) -> Result<&Kernel> {
    find(kernels, choice).with_context(|| {
        format!(
            "no kernel for {choice:?}, only {:?}; remove {}, and the next run fetches them again",
            releases(kernels),
            world::GUEST.path().display()
        )
    })
}

/// Checks that a new root has a kernel for each choice.
pub fn check(root: &Path) -> Result<()> {
    let kernels = list(root)?;
    for choice in [Choice::V6_12, Choice::Newest] {
        if find(&kernels, choice).is_none() {
            bail!("they came without a kernel for {choice:?}, only {:?}", releases(&kernels));
        }
    }
    Ok(())
}

fn find(kernels: &[Kernel], choice: Choice) -> Option<&Kernel> {
    let mut bootable = kernels.iter().filter(|kernel| kernel.image.is_some());
    match choice {
        Choice::V6_12 => bootable.rfind(|kernel| version(&kernel.release).starts_with(&[6, 12])),
        Choice::Newest => bootable.rfind(|kernel| is_newer(&kernel.release)),
    }
}

fn releases(kernels: &[Kernel]) -> Vec<&str> {
    kernels.iter().map(|kernel| kernel.release.as_str()).collect()
}

/// Whether a release is of a later series than 6.12, as backports' kernels are.
#[must_use]
pub fn is_newer(release: &str) -> bool {
    version(release) >= vec![6, 13]
}

/// The numbers at the start of a release, for comparing: `6.12.94+deb13` is 6, 12, 94.
#[must_use]
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

    fn kernel(release: &str, bootable: bool) -> Kernel {
        Kernel {
            release: release.to_owned(),
            image: bootable.then(PathBuf::new),
            modules: PathBuf::new(),
        }
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert_eq!(version("6.12.94+deb13-cloud-amd64"), [6, 12, 94]);
        assert_eq!(version("6.1.0-47-cloud-amd64"), [6, 1, 0, 47]);
        assert!(version("6.9.1") < version("6.12.0"));
    }

    #[test]
    fn headers_alone_are_not_booted() {
        let kernels = [
            kernel("6.1.0-47-cloud-amd64", false),
            kernel("6.12.94-cloud-amd64", true),
            kernel("7.2.12-cloud-amd64", true),
            kernel("7.3.1-cloud-amd64", false),
        ];
        assert_eq!(choose(&kernels, Choice::V6_12).expect("there").release, "6.12.94-cloud-amd64");
        assert_eq!(choose(&kernels, Choice::Newest).expect("there").release, "7.2.12-cloud-amd64");
        assert!(choose(&kernels[..1], Choice::Newest).is_err());
        assert!(choose(&kernels[..2], Choice::Newest).is_err(), "6.12 is not the newest");
    }
}
