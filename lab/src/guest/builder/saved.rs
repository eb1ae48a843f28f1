//! Guests that go on where another one was saved when it had booted.
//!
//! Emulated, a boot takes five seconds of processor time, and to go on from a state in a file less
//! than one. The state is that of a guest without devices: those that are attached are plugged in
//! afterwards, which gives them the same slots.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{Builder, KERNEL_ARGUMENTS};
use crate::guest::{Guest, ONLY};
use crate::run_dir::RunDir;
use crate::slots::Slot;
use crate::{environment, files, lock, paths, process, progress};

/// How long QEMU may take to write or read a state.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(120);
/// How many seconds a guest may take to find what was plugged in.
const PLUG_TIMEOUT: u32 = 30;
/// Where the saved guest keeps the list of its devices.
const DEVICES: &str = "/run/devices";

/// What QEMU is told to write a state to a file, or read it from there.
pub fn address(state: &Path) -> String {
    format!("file:{}", state.display())
}

/// Stops a guest and writes its state to a file.
pub fn save(guest: &mut Guest<'_>, state: &Path) -> Result<()> {
    guest.qmp().execute("stop", &json!({}))?;
    guest.qmp().execute("migrate", &json!({"uri": address(state)}))?;
    wait(guest)
}

/// Waits until a guest that was started with a state has read it, and has it run.
pub fn go_on(guest: &mut Guest<'_>) -> Result<()> {
    wait(guest)?;
    if guest.qmp().execute("query-status", &json!({}))?["status"] != "running" {
        guest.qmp().execute("cont", &json!({}))?;
    }
    Ok(())
}

/// The file with the state of a kind of guest, which is made if there is none with this stamp; nothing
/// when it cannot be had.
pub fn kept(
    kind: &str,
    stamp: u64,
    make: impl FnOnce(&Path) -> Result<()>,
) -> Result<Option<PathBuf>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _right = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = paths::lab().join("saved-guests");
    let state = folder.join(format!("{kind}{stamp:016x}.state"));
    if state.is_file() {
        return Ok(Some(state));
    }
    let partial = folder.join(format!("{kind}{}.partial", std::process::id()));
    if let Err(error) = files::create_folder(&folder).and_then(|()| make(&partial)) {
        lock::remove(&partial)?;
        // Every QEMU can boot.
        progress::say(&format!("booting guests one by one: {error:#}"));
        return Ok(None);
    }
    // Those of what this was made of before. A guest that is to go on from one now boots instead, or
    // has it open.
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(kind) && name.ends_with(".state") {
            lock::remove(&entry.path())?;
        }
    }
    fs::rename(&partial, &state).with_context(|| format!("cannot write {}", state.display()))?;
    Ok(Some(state))
}

fn wait(guest: &mut Guest<'_>) -> Result<()> {
    let completed = process::wait_for(MIGRATION_TIMEOUT, || {
        let answer = guest.qmp().execute("query-migrate", &json!({}))?;
        if answer["status"] == "failed" {
            let reason = answer["error-desc"].as_str().unwrap_or("it does not say why");
            bail!("QEMU cannot save or restore the guest: {reason}");
        }
        Ok((answer["status"] == "completed").then_some(()))
    })?;
    completed.with_context(|| format!("QEMU was not done after {} s", MIGRATION_TIMEOUT.as_secs()))
}

/// A command for a guest that writes down which devices it has, for [`plug`].
pub fn list_devices() -> String {
    format!("ls /sys/bus/pci/devices >{DEVICES}")
}

/// Plugs devices into a guest that goes on, and waits until they are there. Their BARs answer without
/// a driver then, as firmware leaves them.
pub fn plug(guest: &mut Guest<'_>, devices: &[Value]) -> Result<()> {
    for device in devices {
        guest.plug_device(device)?;
    }
    guest.run(&format!(
        "cd /sys/bus/pci/devices
        wanted=$(($(wc -l <{DEVICES}) + {}))
        for second in $(seq {PLUG_TIMEOUT}); do
            echo 1 >../rescan
            test $(ls | wc -l) -lt $wanted || break
            sleep 1
        done
        for device in $(ls | grep -vxFf {DEVICES}); do
            test -e $device/driver || echo 1 >$device/enable
        done",
        devices.len()
    ))?;
    Ok(())
}

impl<'run> Builder<'run> {
    /// Goes on where a guest of this kind was saved when it had booted, and plugs the attached
    /// devices in; boots where that is not possible. For tests of what a device does: firmware and
    /// a booting kernel do not see it.
    pub fn boot_from_saved(mut self) -> Result<Guest<'run>> {
        // First of all: the test that makes a state has a slot then, whichever others wait for it.
        let slot = self.run.slot();
        let only_devices = self.machine.extra.len() == 2 * self.devices.len();
        let pluggable = self.machine.machine.split(',').next() == Some("pc");
        let plain = self.boot && !self.console && !self.machine.paused && self.files.is_empty();
        let state = if only_devices && pluggable && plain { self.state(&slot)? } else { None };
        let Some(state) = state else { return self.boot() };
        let devices = std::mem::take(&mut self.devices);
        self.machine.extra = ["-incoming".to_owned(), address(&state)].into();
        let mut guest = self.start_in(slot)?;
        go_on(&mut guest)?;
        plug(&mut guest, &devices)?;
        Ok(guest)
    }

    /// The state of a guest like this one without devices; nothing when it cannot be had.
    fn state(&self, slot: &Arc<Slot>) -> Result<Option<PathBuf>> {
        let kind = format!("lab-{:016x}-", self.kind()?);
        kept(&kind, self.made_of()?, |partial| self.make(partial, slot))
    }

    /// What tells this kind of guest from others.
    fn kind(&self) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        let mut machine = self.machine.clone();
        machine.extra.clear();
        (machine.arguments(), &self.append, self.kernel, self.qemu.is_some()).hash(&mut hasher);
        (self.driver, self.kernel_image, self.tools).hash(&mut hasher);
        Ok(hasher.finish())
    }

    /// What a state of this kind was made of.
    fn made_of(&self) -> Result<u64> {
        let environment = environment::get()?;
        let mut hasher = DefaultHasher::new();
        let qemu = self.qemu.as_ref().unwrap_or(&environment.qemu);
        (qemu.to_string(), environment.accel.arguments(), KERNEL_ARGUMENTS).hash(&mut hasher);
        environment.roots.arch.hash(&mut hasher);
        environment.kernel(self.kernel).release.hash(&mut hasher);
        self.initramfs(environment)?.0.stamp()?.hash(&mut hasher);
        Ok(hasher.finish())
    }

    /// Boots a guest without devices and writes its state to a file.
    fn make(&self, state: &Path, slot: &Arc<Slot>) -> Result<()> {
        let run = RunDir::create("saved-guest")?;
        let name = ONLY.to_owned();
        let mut builder = Builder { run: &run, name, devices: Vec::new(), ..self.clone() };
        builder.machine.extra.clear();
        let mut guest = builder.start_in(Arc::clone(slot))?;
        guest.wait_until_ready()?;
        guest.run(&list_devices())?;
        save(&mut guest, state)
    }
}
