//! The devices that ours is compared with.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use lab::guest::Builder;
use lab::process::{self, Child};
use lab::{RunDir, paths};
use serde_json::json;

/// The server of the rust-vmm project; scripts/bench.sh installs it there.
const PROGRAM: &str = "target/tools/bin/vhost-device-rng";
/// What its sockets are called; it appends their numbers.
const SOCKET: &str = "vhost-device-rng.sock";
/// How long it may take to listen.
const WAIT_TIMEOUT: Duration = Duration::from_secs(20);

/// A guest with QEMU's own device.
pub fn inside_qemu(guest: Builder<'_>) -> Builder<'_> {
    let device = json!({"driver": "virtio-rng-pci", "rng": "source"}).to_string();
    guest.arguments(&["-object", "rng-builtin,id=source", "-device", &device])
}

/// A running vhost-device-rng; it ends when the value goes.
#[derive(Debug)]
pub struct VhostDeviceRng(Child);

impl VhostDeviceRng {
    /// Starts it and waits until it listens.
    pub fn start(run: &RunDir) -> Result<Self> {
        let program = paths::checkout().join(PROGRAM);
        if !program.exists() {
            bail!("{} is missing; ./scripts/bench.sh guest installs it", program.display());
        }
        let mut command = process::tied(program);
        command.args(["--socket-path", SOCKET, "--socket-count", "2"]).current_dir(run.path());
        let log = run.file("vhost-device-rng.log")?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = Child::spawn("vhost-device-rng", &mut command)?;
        let begun = Instant::now();
        while !["0", "1"].iter().all(|end| run.path().join(format!("{SOCKET}{end}")).exists()) {
            if child.ended()?.is_some() || begun.elapsed() > WAIT_TIMEOUT {
                bail!("vhost-device-rng does not listen; {}", run.tail("vhost-device-rng.log"));
            }
            std::thread::sleep(process::POLL);
        }
        Ok(Self(child))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// A guest with both of its devices: as its README has it, and with a second MSI-X vector. The
    /// guest's memory has to be shared.
    pub fn attach<'run>(&self, guest: Builder<'run>) -> Builder<'run> {
        over_vhost_user(guest, SOCKET)
    }
}

/// A guest with the devices of a vhost-user server's two sockets. Linux uses MSI-X only if there is
/// a vector for the queue too; QEMU's default is one vector, and the second device has two.
pub fn over_vhost_user<'run>(mut guest: Builder<'run>, socket: &str) -> Builder<'run> {
    for (number, vectors) in [(0, 1), (1, 2)] {
        let id = format!("{}-{number}", socket.replace('.', "-"));
        let chardev = format!("socket,id={id},path={socket}{number}");
        let device = json!({"driver": "vhost-user-rng-pci", "chardev": id, "vectors": vectors});
        guest = guest.arguments(&["-chardev", &chardev, "-device", &device.to_string()]);
    }
    guest
}
