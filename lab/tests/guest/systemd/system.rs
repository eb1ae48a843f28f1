//! A guest that is a Debian system, whose first program is systemd: what an administrator installs
//! packages on.
//!
//! The system is a private root, packed to an archive that the guest unpacks to its memory. Its
//! packages are unpacked only, so dpkg knows none of them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::root::{Root, suites};
use lab::{Guest, RunDir, process};

/// What the system is made of: systemd, dpkg, and what maintainer scripts call.
#[must_use]
pub fn root() -> Root {
    let strings = |list: &[&str]| list.iter().map(|entry| (*entry).to_owned()).collect();
    Root {
        name: "system".to_owned(),
        purpose: "a Debian system with systemd",
        size: "30 MB",
        suites: &[suites::RELEASE, suites::TESTING],
        packages: strings(&[
            "systemd,systemd-sysv,libnss-systemd,dpkg,tar,libc-bin,passwd,util-linux,mount,procps",
            "dash,coreutils,sed,grep,findutils,diffutils",
        ]),
        proof: strings(&[
            "usr/lib/systemd/systemd",
            "usr/bin/systemctl",
            "usr/bin/dpkg",
            "usr/sbin/groupdel",
        ]),
        ..Root::default()
    }
}

/// The first program of the guest.
const BOOT: &str = include_str!("../../../guest-files/boot-system");
/// What a server needs nothing of.
const LEFT_OUT: [&str; 7] = [
    "./usr/share/doc",
    "./usr/share/man",
    "./usr/share/locale",
    "./usr/share/i18n",
    "./usr/lib/*/gconv",
    "./usr/lib/udev/hwdb.d",
    "./var/cache/apt",
];
/// Twice what the system takes.
const MEMORY: u32 = 768;

/// Boots it with files in `/root`, and waits until it takes commands.
pub fn boot<'run>(run: &'run RunDir, files: &[&Path]) -> Result<Guest<'run>> {
    let archive = pack(run, &root().get()?)?;
    let boot = run.path().join("boot-system");
    std::fs::write(&boot, BOOT)
        .and_then(|()| {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&boot, std::fs::Permissions::from_mode(0o755))
        })
        .with_context(|| format!("cannot write {}", boot.display()))?;
    let mut guest = Guest::builder(run)
        .without_tools()
        .without_driver()
        .memory(MEMORY)
        .append("rdinit=/root/boot-system systemd.unit=multi-user.target")
        .file("root/boot-system", &boot)
        .file("root/system.tar", &archive);
    for file in files {
        let name = file.file_name().context("a file has a name")?.to_string_lossy();
        guest = guest.file(&format!("root/files/{name}"), file);
    }
    guest.boot()
}

/// Packs the root.
fn pack(run: &RunDir, root: &Path) -> Result<PathBuf> {
    let archive = run.path().join("system.tar");
    let mut tar = process::tied("tar");
    tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(root);
    tar.args(LEFT_OUT.iter().map(|path| format!("--exclude={path}"))).arg(".");
    process::output("tar", &mut tar)?;
    Ok(archive)
}
