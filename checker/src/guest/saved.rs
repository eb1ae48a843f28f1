//! The state of a guest that has booted and has no submission in it yet, in a file: the next
//! guests with the same kernel and device go on from there, which takes a fraction of a boot.
//!
//! Of the device nothing is saved, and QEMU gives its configuration space back empty: what the guest's
//! firmware wrote to it is written again. A student's device is plugged into a guest that was saved
//! without one.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lab::guest::saved::{kept, list_devices, plug};
use lab::initramfs::SCRIPTS;
use lab::{Guest, RunDir, environment, progress};

use super::setup::{Attached, KERNEL_ARGUMENTS, QEMU_ARGUMENTS, Setup};
use crate::profile::{Device, Profile};
use crate::tools::Tools;

/// How much faster it is to go on than to boot.
pub const FASTER: f64 = 6.0;
/// Where the guest keeps the device's configuration space, as its firmware left it.
const CONFIG: &str = "/root/.pci-config";

/// A command for the guest that begins with the device's folder in `$device`.
fn with_device(profile: &Profile, command: &str) -> String {
    let Device { vendor, device, .. } = profile.device;
    format!(
        "found=$(grep -l 'PCI_ID={vendor:04X}:{device:04X}' /sys/bus/pci/devices/*/uevent) && \
         device=${{found%/uevent}} && {command}"
    )
}

/// Whether a saved guest has the tools' device, or a submission's can be plugged in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It has the tools' device.
    WithDevice,
    /// It has none.
    WithoutDevice,
}

/// The state of a guest for these tools; nothing when none can be made.
pub fn saved(tools: &Tools, kind: Kind) -> Result<Option<PathBuf>> {
    let device = match kind {
        Kind::WithDevice => &tools.profile.name,
        Kind::WithoutDevice => "without-device",
    };
    let begin = format!("{}-{device}-", tools.booted.release);
    kept(&begin, stamp(tools, kind)?, |state| {
        let wait = progress::Wait::new("booting a guest for others to go on from");
        make(tools, kind, state)?;
        wait.done("booted a guest for others to go on from");
        Ok(())
    })
}

/// All that a state depends on.
fn stamp(tools: &Tools, kind: Kind) -> Result<u64> {
    let environment = environment::get()?;
    let mut hasher = DefaultHasher::new();
    (environment.qemu.to_string(), environment.accel.arguments(), &tools.booted.release)
        .hash(&mut hasher);
    (KERNEL_ARGUMENTS, QEMU_ARGUMENTS, CONFIG, SCRIPTS).hash(&mut hasher);
    let image = tools.booted.image.clone();
    let device = match (kind, &tools.device) {
        (Kind::WithoutDevice, _) => None,
        (_, Some(program)) => Some(program.clone()),
        (_, None) => Some(lab::cargo_build::server()?),
    };
    for file in image.iter().chain(&device).chain([&tools.exerciser]) {
        let read = || -> std::io::Result<_> {
            let metadata = file.metadata()?;
            Ok((metadata.len(), metadata.modified()?))
        };
        let found = read().with_context(|| format!("cannot read {}", file.display()))?;
        (file, found).hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// Boots a guest and writes its state to a file.
fn make(tools: &Tools, kind: Kind, state: &Path) -> Result<()> {
    let run = RunDir::create("check-saved")?;
    let attached = match kind {
        Kind::WithDevice => Some(Attached::of(tools, &run)?),
        Kind::WithoutDevice => None,
    };
    let mut guest =
        Setup::of(tools, &run, &[]).builder("guest", attached.as_ref(), None).start()?;
    guest.wait_until_ready()?;
    guest.run("dmesg -n 8")?;
    guest.run(&match kind {
        Kind::WithDevice => with_device(&tools.profile, &format!("cat $device/config >{CONFIG}")),
        Kind::WithoutDevice => list_devices(),
    })?;
    lab::guest::saved::save(&mut guest, state)
}

/// Waits until QEMU has read the state, and has the guest go on, with some files.
pub fn go_on<'a>(
    guest: &mut Guest<'_>,
    profile: &Profile,
    attached: &Attached<'_>,
    files: impl Iterator<Item = (&'a str, &'a Path)>,
) -> Result<()> {
    lab::guest::saved::go_on(guest)?;
    match attached {
        Attached::Server(_) => {
            guest.run(&with_device(profile, &format!("cat {CONFIG} >$device/config")))?;
        }
        Attached::Program(program) => plug(guest, &[program.device()])?,
    }
    for (in_guest, on_host) in files {
        guest.copy_in(on_host, &format!("/{in_guest}"))?;
    }
    Ok(())
}
