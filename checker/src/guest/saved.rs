//! The state of a guest that has booted and has nothing of a stranger's in it yet, in a file: the next
//! guests with the same kernel and device go on from there, which takes a fraction of a boot.
//!
//! Of the device nothing is saved, and QEMU gives its configuration space back empty: what the guest's
//! firmware wrote to it is written again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::{Guest, RunDir, lock, paths, process, progress, world};
use serde_json::json;

use super::setup::{EXERCISER, KERNEL_ARGUMENTS, QEMU_ARGUMENTS, Setup};
use crate::checks::Tools;
use crate::profile::{Device, Profile};

/// How much faster it is to go on than to boot.
pub const FASTER: f64 = 6.0;
/// How long QEMU may take to write or read a state.
const SAVE_TIMEOUT: Duration = Duration::from_secs(120);
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

/// What QEMU is told to write a state to a file, or read it from there.
pub fn address(state: &Path) -> String {
    format!("file:{}", state.display())
}

/// The state of a guest for these tools; nothing when none can be made.
pub fn saved(tools: &Tools) -> Result<Option<PathBuf>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _right = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = paths::lab().join("saved-guests");
    let begin = format!("{}-{}-", tools.booted.release, tools.profile.name);
    let state = folder.join(format!("{begin}{}.state", stamp(tools)?));
    if state.is_file() {
        return Ok(Some(state));
    }
    let wait = progress::Wait::new("booting a guest for others to go on from");
    let partial = folder.join(format!("{begin}{}.partial", std::process::id()));
    let made = fs::create_dir_all(&folder)
        .with_context(|| format!("cannot create {}", folder.display()))
        .and_then(|()| make(tools, &partial));
    if let Err(error) = made {
        lock::remove(&partial)?;
        // Every QEMU can boot.
        progress::say(&format!("guests will be booted one by one: {error:#}"));
        return Ok(None);
    }
    // Those of an older QEMU or device. A guest that wants to read one now boots instead.
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(&begin) && name.ends_with(".state") {
            lock::remove(&entry.path())?;
        }
    }
    fs::rename(&partial, &state).with_context(|| format!("cannot write {}", state.display()))?;
    wait.done("booted a guest for others to go on from");
    Ok(Some(state))
}

/// All that a state depends on.
fn stamp(tools: &Tools) -> Result<String> {
    let world = world::get()?;
    let mut hasher = DefaultHasher::new();
    (world.qemu.to_string(), world.accel.arguments(), &tools.booted.release).hash(&mut hasher);
    (KERNEL_ARGUMENTS, QEMU_ARGUMENTS, CONFIG).hash(&mut hasher);
    let image = tools.booted.image.clone();
    let device = match &tools.device {
        Some(program) => program.clone(),
        None => lab::cargo_build::server()?,
    };
    for file in image.iter().chain([&device, &tools.exerciser]) {
        let read = || -> std::io::Result<_> { Ok((file.metadata()?.len(), fs::read(file)?)) };
        read().with_context(|| format!("cannot read {}", file.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

/// Boots a guest and writes its state to a file.
fn make(tools: &Tools, state: &Path) -> Result<()> {
    let run = RunDir::create("check-saved")?;
    let attached = tools.attach(&run)?;
    let setup = Setup {
        run: &run,
        profile: &tools.profile,
        kernel: tools.kernel,
        files: vec![(EXERCISER.to_owned(), tools.exerciser.clone())],
        resets: false,
        saved: None,
    };
    let mut guest = setup.builder("guest", &attached, None).start()?;
    guest.wait_until_ready()?;
    guest.run("dmesg -n 8")?;
    guest.run(&with_device(&tools.profile, &format!("cat $device/config >{CONFIG}")))?;
    let qmp = guest.qmp();
    qmp.execute("stop", &json!({}))?;
    qmp.execute("migrate", &json!({"uri": address(state)}))?;
    wait_for(&mut guest, "query-migrate", "completed")
}

/// Waits until QEMU has read the state, and has the guest go on, with some files.
pub fn go_on<'a>(
    guest: &mut Guest<'_>,
    profile: &Profile,
    files: impl Iterator<Item = (&'a str, &'a Path)>,
) -> Result<()> {
    wait_for(guest, "query-migrate", "completed")?;
    if guest.qmp().execute("query-status", &json!({}))?["status"] != "running" {
        guest.qmp().execute("cont", &json!({}))?;
    }
    guest.run(&with_device(profile, &format!("cat {CONFIG} >$device/config")))?;
    for (in_guest, on_host) in files {
        guest.copy_in(on_host, &format!("/{in_guest}"))?;
    }
    Ok(())
}

fn wait_for(guest: &mut Guest<'_>, question: &str, wanted: &str) -> Result<()> {
    let begun = Instant::now();
    loop {
        let answer = guest.qmp().execute(question, &json!({}))?;
        match answer["status"].as_str() {
            Some(status) if status == wanted => return Ok(()),
            Some("failed") => {
                bail!("QEMU cannot do it: {}", answer["error-desc"].as_str().unwrap_or("failed"))
            }
            _ if begun.elapsed() > SAVE_TIMEOUT => {
                bail!("QEMU was not done after {} s", SAVE_TIMEOUT.as_secs())
            }
            _ => std::thread::sleep(process::POLL),
        }
    }
}
