//! A device and a module of somebody's own: shown in a guest, and exchanged whenever they are
//! saved, by the `lab` program itself.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{paths, slots, world};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::say;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
/// How long anything may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// What a first build of a device may take, on top of that.
const FIRST_BUILD: Duration = Duration::from_secs(180);

/// The program at work, with what it prints.
struct Lab {
    child: Child,
    folder: TempDir,
    /// How much of its words was looked at.
    seen: usize,
    _slot: slots::Slot,
}

impl Lab {
    /// Copies sources to a folder of their own, and starts the program there.
    fn start(sources: &[&str], options: &[&str]) -> Self {
        world::get().expect("the lab's world can be made");
        let slot = slots::wait();
        let folder = tempfile::tempdir().expect("a folder can be made");
        for source in sources {
            copy(&paths::checkout().join(source), folder.path());
        }
        let out = File::create(folder.path().join("said")).expect("writable");
        let err = out.try_clone().expect("a file can be shared");
        say(&format!("lab {options:?}"));
        let child = Command::new(LAB)
            .args(options)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn()
            .expect("the program can be started");
        Self { child, folder, seen: 0, _slot: slot }
    }

    fn said(&self) -> String {
        fs::read_to_string(self.folder.path().join("said")).expect("it is there")
    }

    /// Waits until it has said these words since the last ones that were waited for.
    fn wait_for(&mut self, words: &str, patience: Duration) {
        let begun = Instant::now();
        loop {
            let said = self.said();
            if let Some(found) = said[self.seen..].find(words) {
                self.seen += found + words.len();
                return;
            }
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "it ended without saying {words:?}:\n{said}");
            assert!(begun.elapsed() < patience, "it does not say {words:?}:\n{said}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Saves a file with one thing in it changed, as an editor does: by a new file in its place.
    fn edit(&self, file: &str, before: &str, after: &str) {
        let path = self.folder.path().join(file);
        let text = fs::read_to_string(&path).expect("readable");
        assert!(text.contains(before), "no {before:?} in {file}");
        let new = path.with_extension("new");
        fs::write(&new, text.replacen(before, after, 1)).expect("writable");
        fs::rename(&new, &path).expect("it can take its place");
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // Already gone is as good.
            let _ = kill_process(pid, Signal::INT);
        }
        let _ = self.child.wait();
    }
}

/// Copies a file, or the files of a folder.
fn copy(from: &Path, to: &Path) {
    let to = to.join(from.file_name().expect("it has a name"));
    if from.is_file() {
        fs::copy(from, to).expect("it can be copied");
        return;
    }
    fs::create_dir(&to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("readable").flatten() {
        if entry.path().is_file() {
            copy(&entry.path(), &to);
        }
    }
}

#[test]
fn a_device_of_ones_own_is_shown_once_without_watch() {
    let mut lab =
        Lab::start(&["server/vfio-user/examples/counter.rs"], &["--device", "counter.rs"]);
    lab.wait_for("Device 1234:c0de", PATIENCE + FIRST_BUILD);
    lab.wait_for("0x000 0x00000001", PATIENCE);
    let status = lab.child.wait().expect("it ends by itself");
    assert!(status.success(), "{}", lab.said());
}

#[test]
fn a_commands_exit_status_parameters_and_files_reach_their_ends() {
    let mut lab = Lab::start(
        &["tests/guest-modules/greeter"],
        &[
            "--driver",
            "greeter",
            "--parameters",
            "count=3 whom=\"all of you\"",
            "--file",
            "greeter/greeter.c",
            "--file",
            "greeter/greeter.c=/opt/made/of",
            "--run",
            "cat /sys/module/greeter/parameters/*; head -n 1 greeter.c /opt/made/of; exit 3",
        ],
    );
    let status = lab.child.wait().expect("it ends by itself");
    let said = lab.said();
    assert_eq!(status.code(), Some(3), "{said}");
    for words in
        ["\n3\nall of you\n", "// SPDX-License-Identifier", "==> /opt/made/of <==\n// SPDX"]
    {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}

#[test]
fn what_is_saved_takes_its_place_and_what_does_not_compile_leaves_the_old_one() {
    let mut lab = Lab::start(
        &["server/vfio-user/examples/skeleton.rs", "guest-driver"],
        &["--watch", "--device", "skeleton.rs", "--driver", "guest-driver"],
    );
    lab.wait_for("0x000 0x00000000", PATIENCE + FIRST_BUILD);
    lab.wait_for("watching", PATIENCE);
    say("saving a device that works");
    lab.edit(
        "skeleton.rs",
        "    fn random(&mut self) -> u32 {\n        0",
        "    fn random(&mut self) -> u32 {\n        0x1234_5678",
    );
    lab.wait_for("0x000 0x12345678", PATIENCE);
    lab.wait_for("watching", PATIENCE);
    say("saving one that does not compile");
    lab.edit("skeleton.rs", "0x1234_5678", "no_such_name");
    lab.wait_for("the old device stays", PATIENCE);
    lab.wait_for("watching", PATIENCE);
    say("saving one whose description is impossible");
    lab.edit("skeleton.rs", "no_such_name", "7");
    lab.edit("skeleton.rs", "Bar::memory32(4096)", "Bar::memory32(4097)");
    lab.wait_for("did not start", PATIENCE);
    lab.wait_for("watching", PATIENCE);
    say("saving the module");
    lab.edit("guest-driver/my_rng.c", "/dev/%s ready", "/dev/%s was exchanged");
    lab.wait_for("0x000 0x12345678", PATIENCE);
    lab.wait_for("/dev/my_rng_driver was exchanged", PATIENCE);
    lab.wait_for("watching", PATIENCE);
    say("saving a module that does not compile, and a device again");
    lab.edit("guest-driver/my_rng.c", "MODULE_LICENSE", "MODULE_LICENCE");
    lab.wait_for("the guest goes on with what it has", PATIENCE);
    lab.edit("skeleton.rs", "Bar::memory32(4097)", "Bar::memory32(4096)");
    lab.wait_for("0x000 0x00000007", PATIENCE);
    assert_eq!(lab.said().matches("booting the guest").count(), 1, "{}", lab.said());
}

#[test]
fn a_device_with_msix_is_exchanged_by_another_guest() {
    let mut lab = Lab::start(
        &["tests/guest-files/msix_device.rs"],
        &["--watch", "--device", "msix_device.rs", "--run", "lspci -v -s 00:04.0"],
    );
    lab.wait_for("MSI-X", PATIENCE + FIRST_BUILD);
    lab.wait_for("watching", PATIENCE);
    lab.edit("msix_device.rs", "revision(1)", "revision(2)");
    lab.wait_for("QEMU cannot unplug", PATIENCE);
    lab.wait_for("(rev 02)", PATIENCE);
    lab.wait_for("watching", PATIENCE);
}
