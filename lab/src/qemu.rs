//! Which QEMU runs the guests, and how it is called.
//!
//! Any QEMU with `vfio-user-pci` (10.1 or newer) will do: the one the user names with `QEMU=`, else
//! the system's, else the one in the private root `target/lab/qemu`. That one is run through its
//! own dynamic loader, so that it does not care how old the system's C library is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use crate::arch::Arch;
use crate::root::{self, Root};
use crate::{lock, process, variables};

/// The environment variable that names a QEMU.
pub const VARIABLE: &str = "QEMU";
/// The device that a QEMU for our servers has to have.
const DEVICE: &str = "vfio-user-pci";

/// How long QEMU waits for a device that a debugger may have stopped. By itself it gives a device
/// up that does not answer for 5 s, and never comes back to it.
pub const DEBUG_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// A QEMU that can attach a vfio-user device, or has what a test needs inside.
#[derive(Debug, Clone)]
pub struct Qemu {
    /// The program and the arguments that always come first.
    start: Vec<String>,
    /// Its version, as it says itself.
    version: String,
    /// Why this one.
    reason: String,
}

impl Qemu {
    /// Finds one, fetching the private root when there is no other.
    pub fn find(root: &Root, right: &lock::Preparing) -> Result<Self> {
        if let Some(present) = Self::present(root)? {
            return Ok(present);
        }
        Self::private(&root.ensure(right)?)
    }

    /// Finds one without fetching the private root.
    pub fn present(root: &Root) -> Result<Option<Self>> {
        if let Some(path) = variables::get(VARIABLE) {
            return Self::named(&named_program(path.into())).map(Some);
        }
        let program = Arch::guest().qemu();
        if process::in_path(program) {
            let start = vec![program.to_owned()];
            let reason = "this system's, has vfio-user-pci".to_owned();
            if let Some(host) = Self::try_one(start, DEVICE, reason)? {
                return Ok(Some(host));
            }
        }
        if root.ready() { Self::private(&root.path()).map(Some) } else { Ok(None) }
    }

    /// The QEMU that the user named.
    fn named(path: &Path) -> Result<Self> {
        let start = vec![path.display().to_string()];
        let found = Self::try_one(start, DEVICE, format!("named by {VARIABLE}="));
        let found = found.and_then(|qemu| qemu.with_context(|| format!("it has no {DEVICE}")));
        found.map_err(|error| {
            anyhow!(
                "{VARIABLE}={}: {error:#}; unset {VARIABLE} to use the lab's own, or set it to a \
                 QEMU with {DEVICE} (10.1 or newer), such as /usr/bin/{}",
                path.display(),
                Arch::guest().qemu()
            )
        })
    }

    /// The QEMU of a private root.
    fn private(root: &Path) -> Result<Self> {
        let program = Arch::guest().qemu();
        let reason = if process::in_path(program) {
            "the lab's own: this system's has no vfio-user-pci"
        } else {
            "the lab's own: this system has none"
        };
        let program = root.join("usr/bin").join(program);
        Self::in_root(root, &program, DEVICE, reason)
    }

    /// A program that is run with the libraries and the firmware of a private root, and that has
    /// to have a device.
    pub fn in_root(root: &Path, program: &Path, device: &str, reason: &str) -> Result<Self> {
        let start = start_private(root, program);
        Self::try_one(start, device, reason.to_owned())?
            .with_context(|| format!("the QEMU of {} has no {device}", root.display()))
    }

    /// Asks a QEMU whether it has the device; nothing when it has not.
    fn try_one(start: Vec<String>, device: &str, reason: String) -> Result<Option<Self>> {
        let (has_device, _) = ask(&start, &["-device", &format!("{device},help")])?;
        if !has_device {
            return Ok(None);
        }
        let version = version(&start)?;
        Ok(Some(Self { start, version, reason }))
    }

    /// A command that starts it and that dies with the calling thread.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = process::tied(&self.start[0]);
        command.args(&self.start[1..]);
        command
    }
}

impl fmt::Display for Qemu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QEMU {} ({})", self.version, self.reason)
    }
}

/// Asks a QEMU something; returns whether it knew, and the answer.
fn ask(start: &[String], question: &[&str]) -> Result<(bool, String)> {
    let output = Command::new(&start[0])
        .args(&start[1..])
        .args(question)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", start[0]))?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// A QEMU's version, as it says itself.
fn version(start: &[String]) -> Result<String> {
    let (_, said) = ask(start, &["--version"])?;
    let line = said.lines().next().unwrap_or_default();
    Ok(line.trim_start_matches("QEMU emulator version ").to_owned())
}

/// Checks that a new root's QEMU can attach a vfio-user device.
pub fn check(root: &Path, arch: Arch) -> Result<()> {
    let start = start_private(root, &root.join("usr/bin").join(arch.qemu()));
    match Qemu::try_one(start.clone(), DEVICE, String::new())? {
        Some(_) => Ok(()),
        None => bail!("their QEMU {} has no {DEVICE}", version(&start)?),
    }
}

/// A program that the user named: a path is relative to the current folder, and guests are started
/// in others; a bare name is looked for in `PATH`.
fn named_program(path: PathBuf) -> PathBuf {
    if path.parent() == Some(Path::new("")) {
        return path;
    }
    // It only fails without a current folder, where relative paths mean nothing.
    std::path::absolute(&path).unwrap_or(path)
}

/// How a QEMU is started with the libraries of a private root.
fn start_private(root: &Path, program: &Path) -> Vec<String> {
    let inside = |path: &str| root.join(path).display().to_string();
    let mut start = root::loader(root).to_vec();
    start.push(program.display().to_string());
    for data in ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"] {
        start.extend(["-L".to_owned(), inside(data)]);
    }
    start
}

/// The `-device` (or QMP `device_add`) description of a device served on a socket.
pub fn vfio_user_device(id: &str, socket: &str) -> Value {
    json!({"driver": "vfio-user-pci", "id": id, "socket": {"type": "unix", "path": socket}})
}

/// The machine around a guest, as far as tests differ in it.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `pc`, `q35`, `virt`, with options.
    pub machine: String,
    /// Whether QEMU adds its default devices: a network card, a VGA card and drives.
    pub default_devices: bool,
    /// Processors.
    pub processors: u8,
    /// Memory in MiB.
    pub memory: u32,
    /// Whether the memory can be mapped by a device's server.
    pub shared: bool,
    /// Whether the processors wait for QMP's `cont`.
    pub paused: bool,
    /// More arguments, devices in particular.
    pub extra: Vec<String>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            machine: Arch::guest().machine().to_owned(),
            default_devices: false,
            processors: 1,
            memory: 256,
            shared: true,
            paused: false,
            extra: Vec::new(),
        }
    }
}

/// How many devices can be plugged into a machine that takes them in ports of its own only.
pub const PORTS: usize = 4;
/// The slot of the first of these ports, behind those of other devices.
const FIRST_PORT: usize = 0x18;

/// The name of a port, from 0 on.
pub fn port(number: usize) -> String {
    format!("port{number}")
}

impl Machine {
    /// Whether its root bus takes no devices while it runs, so that it has ports for them.
    pub fn has_ports(&self) -> bool {
        self.machine.split(',').next() == Some("virt")
    }

    /// The slot of the device with this number, from 0 on, where QEMU would choose another one than
    /// on a PC: teaching pages and guests' scripts know it there.
    pub fn slot(&self, number: usize) -> Option<usize> {
        let first = if self.default_devices { 4 } else { 2 };
        self.has_ports().then_some(first + number)
    }

    /// The arguments that describe it.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-no-user-config", "-display", "none"].map(str::to_owned).to_vec();
        if self.default_devices {
            // Without the monitor and ports it would put on standard output.
            arguments.extend(["-monitor", "none", "-parallel", "none"].map(str::to_owned));
        } else {
            arguments.push("-nodefaults".to_owned());
        }
        arguments.extend(["-smp".to_owned(), self.processors.to_string()]);
        arguments.extend(["-m".to_owned(), format!("{}M", self.memory)]);
        let mut machine = self.machine.clone();
        if self.shared {
            arguments.push("-object".to_owned());
            arguments.push(format!("memory-backend-memfd,id=ram,size={}M,share=on", self.memory));
            machine.push_str(",memory-backend=ram");
        }
        arguments.extend(["-machine".to_owned(), machine]);
        if self.has_ports() {
            for number in 0..PORTS {
                let (id, slot) = (port(number), FIRST_PORT + number);
                let port = format!("pcie-root-port,id={id},chassis={number},addr={slot:#x}");
                arguments.extend(["-device".to_owned(), port]);
            }
        }
        if self.paused {
            arguments.push("-S".to_owned());
        }
        arguments.extend(self.extra.iter().cloned());
        arguments
    }
}

/// A path as a value among QEMU's comma-separated options.
pub fn escape(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_a_file_the_machine_names() {
        let arguments = Machine::default().arguments().join(" ");
        assert!(arguments.contains("memory-backend-memfd,id=ram,size=256M,share=on"));
        let machine = Arch::guest().machine();
        assert!(arguments.contains(&format!("-machine {machine},memory-backend=ram")));
        let plain = Machine { shared: false, ..Machine::default() }.arguments().join(" ");
        assert!(!plain.contains("memory-backend"));
        assert!(plain.contains("-m 256M"));
    }

    #[test]
    fn default_devices_are_left_out_unless_asked_for() {
        assert!(Machine::default().arguments().contains(&"-nodefaults".to_owned()));
        let machine = Machine { default_devices: true, paused: true, ..Machine::default() };
        assert!(!machine.arguments().contains(&"-nodefaults".to_owned()));
        assert!(machine.arguments().contains(&"-S".to_owned()));
    }

    #[test]
    fn a_named_program_is_a_path_from_here_or_a_bare_name() {
        let here = std::env::current_dir().expect("there is one");
        assert_eq!(named_program("./build/qemu".into()), here.join("build/qemu"));
        assert_eq!(named_program("build/qemu".into()), here.join("build/qemu"));
        assert_eq!(named_program("/build/qemu".into()), PathBuf::from("/build/qemu"));
        assert_eq!(named_program("qemu".into()), PathBuf::from("qemu"));
    }

    #[test]
    fn a_named_qemu_that_does_not_do_is_told_with_the_next_step() {
        let next = "unset QEMU to use the lab's own, or set it to a QEMU with vfio-user-pci (10.1 \
                    or newer), such as /usr/bin/qemu-system-";
        let told = |path: &str| format!("{:#}", Qemu::named(Path::new(path)).expect_err("no QEMU"));
        let missing = told("/nonexistent");
        let reason = "QEMU=/nonexistent: cannot run /nonexistent: No such file or directory";
        assert!(missing.starts_with(reason), "{missing}");
        assert!(missing.contains(next), "{missing}");
        let other = told("/bin/false");
        assert!(other.starts_with("QEMU=/bin/false: it has no vfio-user-pci; "), "{other}");
        assert!(other.contains(next), "{other}");
    }

    #[test]
    fn a_device_is_described_in_json() {
        assert_eq!(
            vfio_user_device("rng", "a.sock").to_string(),
            r#"{"driver":"vfio-user-pci","id":"rng","socket":{"path":"a.sock","type":"unix"}}"#
        );
    }
}
