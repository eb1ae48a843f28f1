//! Finds or gets mmdebstrap, the program that fetches and unpacks Debian packages without root.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::{files, lock, paths, process, progress};

/// The words that start what there is already, without installing anything.
pub fn present() -> Option<Vec<String>> {
    if process::in_path("mmdebstrap") {
        return Some(vec!["mmdebstrap".to_owned()]);
    }
    let copy = copy();
    let inside = |path| copy.join(path).display().to_string();
    // Debian's keys came with our own copy.
    let keyring = format!("--keyring={}", inside("usr/share/keyrings"));
    copy.is_dir().then(|| vec![inside("usr/bin/mmdebstrap"), keyring])
}

/// The same of what there is, or of a new one: installed by root, downloaded to `target/lab` by others.
pub fn get(right: &lock::Preparing) -> Result<Vec<String>> {
    if let Some(present) = present() {
        return Ok(present);
    }
    if !process::in_path("apt-get") {
        bail!("{MISSING}, and there is no apt-get here to get it with. {BY_HAND}");
    }
    if process::is_root() {
        install()?
    } else {
        download(right)?
    }
    present().with_context(|| format!("{MISSING} still. {BY_HAND}"))
}

/// What is wrong without it.
const MISSING: &str = "mmdebstrap is missing, which fetches the Debian packages for the lab";
/// What a user can do.
const BY_HAND: &str = "Install the packages mmdebstrap and debian-archive-keyring";

/// What root does.
const INSTALL: &str = "install -y -qq --no-install-recommends mmdebstrap debian-archive-keyring";

fn copy() -> PathBuf {
    paths::lab().join("mmdebstrap")
}

fn install() -> Result<()> {
    progress::say("installing packages on this system: mmdebstrap debian-archive-keyring");
    for arguments in ["update -qq", INSTALL] {
        // Not tied to the lab's life: dpkg is not to be killed half way.
        let status = Command::new("apt-get")
            .args(arguments.split(' '))
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .context("cannot run apt-get")?;
        if !status.success() {
            let end = process::describe(status);
            bail!("`apt-get {arguments}` ended with {end}. {BY_HAND}");
        }
    }
    Ok(())
}

fn download(right: &lock::Preparing) -> Result<()> {
    let to = copy();
    progress::say(&format!("mmdebstrap is not installed: downloading it to {}", to.display()));
    let partial = copy().with_extension("partial");
    lock::remove_partial(&paths::lab(), right)?;
    files::create_folder(&partial)?;
    fetch(&partial).inspect_err(|_| {
        // What cannot be removed now is removed by the next run.
        let _ = lock::remove(&partial);
    })?;
    std::fs::rename(&partial, copy())
        .with_context(|| format!("cannot rename {}", partial.display()))
}

fn fetch(folder: &Path) -> Result<()> {
    let mut fetch = process::contained("apt-get");
    fetch.args(["download", "-qq", "mmdebstrap", "debian-archive-keyring"]).current_dir(folder);
    process::output("apt-get download", &mut fetch)
        .with_context(|| format!("{MISSING}, and it could not be downloaded. {BY_HAND}"))?;
    for entry in files::entries(folder)? {
        unpack(&entry.path(), folder)?;
    }
    Ok(())
}

fn unpack(package: &Path, to: &Path) -> Result<()> {
    if package.extension().is_some_and(|extension| extension == "deb") {
        let mut unpack = process::contained("dpkg-deb");
        process::output("dpkg-deb", unpack.arg("--extract").arg(package).arg(to))?;
        lock::remove(package)?;
    }
    Ok(())
}
