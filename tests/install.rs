//! `scripts/install.sh`: what it installs builds devices in C by pkg-config, and they answer a client.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use lab::paths;
use tempfile::TempDir;
use vfio_user_client::Connection;
use vfio_user_client::message::{
    REGION_READ, REGION_WRITE, VERSION, access, region_write, version,
};

/// How long an answer may take on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The first numbers of seed 1.
const NUMBERS: [u32; 2] = [1_804_289_383, 846_930_886];

/// A program that serves a device; it ends with the value.
struct Device {
    process: Child,
    connection: Connection,
}

impl Device {
    fn start(program: &Path) -> Self {
        let socket = program.with_extension("sock");
        let mut process = Command::new(program)
            .args(["--ready-fd", "1", "--socket-path"])
            .arg(&socket)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut ready = process.stdout.take().expect("it is a pipe");
        ready.read_exact(&mut [0]).expect("it becomes ready");
        let mut connection = Connection::connect(&socket, TIMEOUT).expect("it accepts");
        connection.request(VERSION, &version(0, 1, &[]), &[]).expect("it answers");
        Device { process, connection }
    }

    fn read(&mut self, offset: u64) -> u32 {
        let reply = self.connection.request(REGION_READ, &access(0, offset, 4), &[]);
        let payload = reply.expect("it answers").payload;
        u32::from_le_bytes(payload[16..].try_into().expect("four bytes"))
    }

    fn write(&mut self, offset: u64, value: u32) {
        let write = region_write(0, offset, &value.to_le_bytes());
        self.connection.request(REGION_WRITE, &write, &[]).expect("it answers");
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs a line as a user types it, in a folder.
fn shell(line: &str, folder: &Path, prefix: &Path) {
    let output = Command::new("sh")
        .args(["-c", line])
        .current_dir(folder)
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .output()
        .expect("sh runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("warning:"), "{line}\n{said}");
}

fn libraries(program: &Path) -> String {
    let output = Command::new("ldd").arg(program).output().expect("ldd runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_is_installed_builds_devices_in_c() {
    let folder = TempDir::new().expect("a folder can be made");
    let (folder, prefix) = (folder.path(), folder.path().join("prefix"));
    let script = paths::checkout().join("scripts/install.sh");
    let output = Command::new(script).arg("--prefix").arg(&prefix).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let student = "checker/submissions/devices/c-correct-global-rand/my-rng.c";
    let student = paths::checkout().join(student);
    std::fs::copy(student, folder.join("my-rng.c")).expect("it can be copied");
    let skeleton = prefix.join("share/vfio-user-device/examples/skeleton.c");
    std::fs::copy(skeleton, folder.join("skeleton.c")).expect("it is installed");
    let qemu = "$(pkg-config --cflags qemu-device) my-rng.c $(pkg-config --libs qemu-device)";
    let plain = qemu.replace("pkg-config", "pkg-config --define-variable=sanitize=");
    for (name, line) in [
        ("my-rng", format!("cc {qemu} -o my-rng")),
        ("plain", format!("cc {plain} -o plain")),
        ("kit", "cc skeleton.c $(pkg-config --cflags --libs vfio-user-device) -o kit".to_owned()),
    ] {
        shell(&line, folder, &prefix);
        let program = folder.join(name);
        let mut device = Device::start(&program);
        device.write(4, 1);
        assert_eq!([device.read(0), device.read(0)], NUMBERS, "{name}");
        assert_eq!(libraries(&program).contains("libasan"), name == "my-rng", "{name}");
    }
    assert!(libraries(&folder.join("kit")).contains("libvfio_user_device.so.0 => /"));
}
