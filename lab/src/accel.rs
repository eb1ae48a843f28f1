//! How guests run: on the processor (KVM) or emulated (TCG).
//!
//! `/dev/kvm` can exist, open and answer, and still not run a kernel: inside some virtual machines
//! a guest dies at its first steps while QEMU spins. So KVM is used only after a guest really
//! started under it. The verdict is kept until the next boot of this system.

use std::fmt;
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::initramfs::{self, Initramfs};
use crate::kernel::Kernel;
use crate::packages::Roots;
use crate::process::Child;
use crate::qemu::{self, Machine, Qemu};
use crate::{files, lock, paths, process, progress, variables};

/// The environment variable that chooses.
pub const VARIABLE: &str = "ACCEL";
/// How long a guest may take to its first words. One that runs takes a second or two, some more
/// beside a compiler; one that does not keeps a processor busy.
const PROBE_TIMEOUT: Duration = Duration::from_secs(8);

/// What `-accel` gets, and why.
#[derive(Debug, Clone)]
pub struct Accel {
    name: &'static str,
    reason: String,
}

impl Accel {
    fn new(name: &'static str, reason: impl Into<String>) -> Self {
        Self { name, reason: reason.into() }
    }

    /// QEMU's arguments for it.
    pub fn arguments(&self) -> [String; 4] {
        let arch = Arch::guest();
        let processor = if self.name == "kvm" { "max" } else { arch.emulated_processor() };
        ["-accel", self.name, "-cpu", processor].map(str::to_owned)
    }
}

impl fmt::Display for Accel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "accelerator {} ({})", self.name, self.reason)
    }
}

/// Chooses, trying KVM if nothing else decides.
pub fn choose(
    qemu: &Qemu,
    roots: &Roots,
    kernel: &Kernel,
    _right: &lock::Preparing,
) -> Result<Accel> {
    if let Some(accel) = without_probe(qemu)? {
        return Ok(accel);
    }
    progress::say("trying whether KVM really runs a guest");
    let verdict = probe(qemu, roots, kernel)?;
    let path = verdict_path();
    files::write(&path, format!("{}\n{verdict}", probed(qemu)))?;
    Ok(from_verdict(&verdict))
}

/// Chooses if that needs no probe: because the user said so, because there is no `/dev/kvm` to
/// open, or because it was tried before.
fn without_probe(qemu: &Qemu) -> Result<Option<Accel>> {
    if let Some(name) = variables::one_of(VARIABLE, &["tcg", "kvm"])? {
        return Ok(Some(Accel::new(name, format!("chosen by {VARIABLE}="))));
    }
    let arch = Arch::guest();
    if arch.is_foreign() {
        let reason = format!("this machine's processors are not {arch}");
        return Ok(Some(Accel::new("tcg", reason)));
    }
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Ok(Some(Accel::new("tcg", format!("/dev/kvm cannot be opened: {error}"))));
    }
    let kept = std::fs::read_to_string(verdict_path()).unwrap_or_default();
    let kept = kept.split_once('\n').filter(|(tried, _)| *tried == probed(qemu));
    Ok(kept.map(|(_, verdict)| from_verdict(verdict)))
}

/// What a verdict is about: this boot of the system and this QEMU.
fn probed(qemu: &Qemu) -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{} {qemu}", boot.trim())
}

fn verdict_path() -> PathBuf {
    paths::lab().join("kvm-verdict")
}

/// The verdict of a probe that went well.
const RUNS: &str = "a guest ran under KVM";

fn from_verdict(verdict: &str) -> Accel {
    Accel::new(if verdict == RUNS { "kvm" } else { "tcg" }, verdict)
}

/// Boots a guest under KVM until its first words.
fn probe(qemu: &Qemu, roots: &Roots, kernel: &Kernel) -> Result<String> {
    let initramfs = Initramfs::minimal(roots).write("kvm-probe")?;
    let console = paths::lab().join("kvm-probe.log");
    lock::remove(&console)?;
    let machine = Machine { shared: false, ..Machine::default() };
    let mut command = qemu.command();
    command.args(Accel::new("kvm", "probe").arguments()).args(machine.arguments());
    command.arg("-chardev").arg(format!("file,id=console,path={}", qemu::escape(&console)));
    let words = format!("console={} quiet", roots.arch.console());
    command.args(["-serial", "chardev:console", "-append", &words, "-kernel"]);
    command.arg(kernel.image.as_deref().context("a chosen kernel has an image")?);
    command.arg("-initrd").arg(initramfs);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Child::spawn("QEMU", &mut command)?;
    let verdict = process::wait_for(PROBE_TIMEOUT, || {
        // There is no file until QEMU has made it.
        let said = std::fs::read(&console).unwrap_or_default();
        if String::from_utf8_lossy(&said).contains(initramfs::FIRST_WORDS) {
            return Ok(Some(RUNS.to_owned()));
        }
        let end = child.ended()?.map(process::describe);
        Ok(end.map(|end| format!("/dev/kvm is there, but QEMU cannot use it: {end}")))
    })?;
    Ok(verdict.unwrap_or_else(|| {
        format!("/dev/kvm is there, but a guest said nothing for {} s", PROBE_TIMEOUT.as_secs())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_guest_that_ran_means_kvm() {
        assert_eq!(from_verdict(RUNS).name, "kvm");
        assert_eq!(from_verdict("/dev/kvm is there, but").name, "tcg");
    }
}
