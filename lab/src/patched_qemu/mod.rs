//! The patched QEMU: a QEMU that has the teaching device inside, as a virtualisation course builds it.
//!
//! What guests see of our server's device has to be what they see of a device that is a part of
//! QEMU. The patch in `qemu-patches` makes such a QEMU of Debian's source, in `target/lab`:
//!
//! * [`tools`] is a private root with the compiler, the libraries and the source,
//! * [`tree`] is the source, patched and configured, with its build,
//! * [`workshop`] is a copy of it in which a person's changes can be tried.
//!
//! It is the smallest QEMU that the lab's x86-64 guests boot on; even so its first build takes minutes.

pub mod tree;
pub mod workshop;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::arch::{self, Arch};
use crate::once::{OnceResult, once};
use crate::qemu::Qemu;
use crate::root::{Root, suites};
use crate::{lock, paths, progress};
use tree::Tree;

/// The device's name in QEMU.
pub const DEVICE: &str = "my_rng";

/// What QEMU is built from and with, and the firmware it needs to run.
pub fn tools() -> Root {
    let packages = [
        // What the building of QEMU asks for.
        "gcc,libc6-dev,ninja-build,meson,python3-pip,pkgconf,bash,diffutils",
        "libglib2.0-dev,libpixman-1-dev,libfdt-dev",
        // What its scripts call, and what unpacks and patches it.
        "dash,coreutils,sed,grep,findutils,busybox-static,dpkg-dev",
        // What it needs at run time.
        "qemu-system-data,seabios,ipxe-qemu",
    ];
    let glib = format!("usr/{}/pkgconfig/glib-2.0.pc", Arch::host().libraries());
    let proof = [
        "usr/bin/gcc",
        "usr/bin/meson",
        "usr/bin/ninja",
        "usr/bin/dpkg-source",
        "usr/bin/busybox",
        &glib,
        "usr/share/qemu/linuxboot_dma.bin",
        "usr/share/seabios/bios-256k.bin",
    ];
    Root {
        name: "qemu-build".to_owned(),
        purpose: "QEMU's source, and what it is built with",
        size: "150 MB",
        packages: packages.map(str::to_owned).into(),
        suites: &[suites::RELEASE],
        source: Some("qemu"),
        proof: proof.map(str::to_owned).into(),
        check: |root, _| check_source(root),
        ..Root::default()
    }
}

/// Checks that the source came, of a version that the patch is for.
fn check_source(root: &Path) -> Result<()> {
    let files = tree::source_files(root)?;
    ensure!(
        files.iter().any(|name| name.starts_with("qemu_10.0.") && name.ends_with(".dsc")),
        "usr/src has no source of QEMU 10.0, but {files:?}"
    );
    Ok(())
}

/// The patch that adds the device, in the checkout.
pub fn patch() -> PathBuf {
    paths::checkout().join("qemu-patches/0001-hw-misc-add-my_rng.patch")
}

/// The QEMU with the device, built on first use; guests in other threads wait for it.
pub fn get() -> Result<&'static Qemu> {
    static PATCHED: OnceResult<Qemu> = OnceResult::new();
    once(&PATCHED, || Ok(build()?.qemu))
}

/// What a build made.
#[derive(Debug)]
pub struct Built {
    /// The program.
    pub qemu: Qemu,
    /// How long the compiler and the linker took.
    pub took: Duration,
}

/// Builds what has changed since the last time: everything, or only what another patch changes.
pub fn build() -> Result<Built> {
    ensure!(
        Arch::guest() == Arch::X86_64,
        "the QEMU with my_rng inside is for x86-64 guests only; set {}=x86-64",
        arch::VARIABLE
    );
    let right = lock::preparing()?;
    let root = tools().ensure(&right)?;
    let tree = Tree::new(&root, &folder(), &right)?;
    tree.prepare(&patch())?;
    let took = tree.compile()?;
    let qemu = tree.qemu()?;
    progress::say(&format!("{qemu}"));
    Ok(Built { qemu, took })
}

/// The program, which runs with the libraries of [`tools`].
pub fn program() -> PathBuf {
    tree::program_in(&folder())
}

/// Its source, once it was built.
pub fn source() -> PathBuf {
    folder().join("source")
}

/// Where it is built.
fn folder() -> PathBuf {
    paths::lab().join("qemu-my_rng")
}

/// QEMU's description of its own device; without a seed the operating system chooses.
pub fn device(id: &str, seed: Option<u32>) -> Value {
    let mut device = json!({"driver": DEVICE, "id": id});
    if let Some(seed) = seed {
        device["seed"] = seed.into();
    }
    device
}
