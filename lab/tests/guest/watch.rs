//! A device and a module of a user's own: shown in a guest, and exchanged whenever they are
//! saved, by the `lab` program itself.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Arch, environment, paths, slots};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::say;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
/// How long anything may take on a loaded machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(180);
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
        environment::get().expect("the lab's environment can be made");
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
    fn wait_for(&mut self, words: &str, timeout: Duration) {
        let begun = Instant::now();
        loop {
            let said = self.said();
            if let Some(found) = said[self.seen..].find(words) {
                self.seen += found + words.len();
                return;
            }
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "it ended without saying {words:?}:\n{said}");
            assert!(begun.elapsed() < timeout, "it does not say {words:?}:\n{said}");
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

/// How many guests there are when a device was unplugged so often: on arm64's machine it sits where
/// nothing is unplugged while the guest runs.
fn guests(unplugged: usize) -> usize {
    if Arch::guest() == Arch::Arm64 { 1 + unplugged } else { 1 }
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
        Lab::start(&["crates/vfio-user-device/examples/counter.rs"], &["--device", "counter.rs"]);
    lab.wait_for("Device 1234:c0de", WAIT_TIMEOUT + FIRST_BUILD);
    lab.wait_for("0x000 0x00000001", WAIT_TIMEOUT);
    let status = lab.child.wait().expect("it ends by itself");
    assert!(status.success(), "{}", lab.said());
}

#[test]
fn a_commands_exit_status_parameters_and_files_reach_their_ends() {
    let mut lab = Lab::start(
        &["lab/guest-modules/greeter"],
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
        &["crates/vfio-user-device/examples/skeleton.rs", "guest-driver"],
        &["--watch", "--device", "skeleton.rs", "--driver", "guest-driver"],
    );
    lab.wait_for("0x000 0x00000000", WAIT_TIMEOUT + FIRST_BUILD);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving a device that works");
    lab.edit(
        "skeleton.rs",
        "    fn random(&mut self) -> u32 {\n        0",
        "    fn random(&mut self) -> u32 {\n        0x1234_5678",
    );
    lab.wait_for("0x000 0x12345678", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving one that does not compile");
    lab.edit("skeleton.rs", "0x1234_5678", "no_such_name");
    lab.wait_for("the old device stays", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving one whose description is impossible");
    lab.edit("skeleton.rs", "no_such_name", "7");
    lab.edit("skeleton.rs", "Bar::memory32(4096)", "Bar::memory32(4097)");
    lab.wait_for("did not start", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving the module");
    lab.edit("guest-driver/my_rng.c", "/dev/%s ready", "/dev/%s was exchanged");
    lab.wait_for("0x000 0x12345678", WAIT_TIMEOUT);
    lab.wait_for("/dev/my_rng_driver was exchanged", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving a module that does not compile, and a device again");
    lab.edit("guest-driver/my_rng.c", "MODULE_LICENSE", "MODULE_LICENCE");
    lab.wait_for("the guest goes on with what it has", WAIT_TIMEOUT);
    lab.edit("skeleton.rs", "Bar::memory32(4097)", "Bar::memory32(4096)");
    lab.wait_for("0x000 0x00000007", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving a device that panics");
    lab.edit(
        "skeleton.rs",
        "\n        7\n",
        "\n        eprintln!(\"here\");\n        panic!(\"ouch\");\n",
    );
    lab.wait_for("the device panicked at", WAIT_TIMEOUT);
    lab.wait_for("ouch", WAIT_TIMEOUT);
    lab.wait_for("the device printed:\n  here", WAIT_TIMEOUT);
    assert_eq!(lab.said().matches("booting the guest").count(), 1, "{}", lab.said());
}

/// Keeps the driver's file open from the first time on, and shows by which process, where the device is,
/// and a number.
const OPEN: &str = "test -e /run/reader || {
        sleep 100000 </dev/my_rng_driver >/dev/null 2>&1 & echo $! >/run/reader; }
    echo \"process $(cat /run/reader) has $(readlink /proc/$(cat /run/reader)/fd/0)\"
    echo \"BAR 0: $(head -n 1 /sys/bus/pci/devices/0000:00:04.0/resource)\"
    echo \"number $(dd if=/dev/my_rng_driver bs=4 count=1 2>/dev/null | od -An -tx4)\"";

#[test]
fn a_saved_device_takes_the_place_under_its_driver_unless_it_looks_different() {
    let mut lab = Lab::start(
        &["crates/vfio-user-device/examples/skeleton.rs", "guest-driver"],
        &["--watch", "--device", "skeleton.rs", "--driver", "guest-driver", "--run", OPEN],
    );
    lab.wait_for("number  00000000", WAIT_TIMEOUT + FIRST_BUILD);
    lab.wait_for("watching", WAIT_TIMEOUT);
    let shown = |lab: &Lab, word: &str| -> Vec<String> {
        let said = lab.said();
        said.lines().filter(|line| line.starts_with(word)).map(str::to_owned).collect()
    };
    let first = (shown(&lab, "process "), shown(&lab, "BAR 0: "));
    say("saving a device that works, and has a register more to remember");
    let counter = "    let_it_be: u32,\n";
    lab.edit("skeleton.rs", "struct MyRng {\n", &format!("struct MyRng {{\n{counter}"));
    lab.wait_for("the device was exchanged in place; its driver stays loaded", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    lab.edit(
        "skeleton.rs",
        "    fn random(&mut self) -> u32 {\n        0",
        "    fn random(&mut self) -> u32 {\n        self.let_it_be += 1;\n        self.let_it_be",
    );
    lab.wait_for("the device was exchanged in place; its driver stays loaded", WAIT_TIMEOUT);
    lab.wait_for("number  00000001", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving it once more: it goes on where it was");
    lab.edit("skeleton.rs", "Read: 0.", "Read: 0");
    lab.wait_for("number  00000002", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    for (now, then) in [("process ", &first.0), ("BAR 0: ", &first.1)] {
        let now = shown(&lab, now);
        assert!(now.len() == 4 && now.iter().all(|line| *line == then[0]), "{now:?}");
    }
    assert!(first.0[0].ends_with(" has /dev/my_rng_driver"), "{first:?}");
    say("saving one with another revision");
    lab.edit("skeleton.rs", "revision(0x10)", "revision(0x11)");
    lab.wait_for("not exchanged in place: ", WAIT_TIMEOUT);
    lab.wait_for("differ from the old one's", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    assert_eq!(lab.said().matches("booting the guest").count(), guests(1), "{}", lab.said());
}

#[test]
fn a_device_with_msix_is_exchanged_by_another_guest() {
    let mut lab = Lab::start(
        &["lab/guest-files/msix_device.rs"],
        &["--watch", "--device", "msix_device.rs", "--run", "lspci -v -s 00:04.0"],
    );
    lab.wait_for("MSI-X", WAIT_TIMEOUT + FIRST_BUILD);
    lab.wait_for("watching", WAIT_TIMEOUT);
    lab.edit("msix_device.rs", "revision(1)", "revision(2)");
    lab.wait_for("QEMU cannot unplug", WAIT_TIMEOUT);
    lab.wait_for("(rev 02)", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
}

#[test]
fn after_an_oops_or_an_endless_loop_the_next_save_boots_another_guest() {
    let mut lab = Lab::start(&["lab/guest-modules/greeter"], &["--watch", "--driver", "greeter"]);
    lab.wait_for("hello world", WAIT_TIMEOUT + FIRST_BUILD);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving a driver that follows a NULL pointer");
    let first = "\tuint i;\n";
    let wrong = "\tuint i;\n\n\t*(volatile int *)0 = 1;\n";
    lab.edit("greeter/greeter.c", first, wrong);
    let failed = match Arch::guest() {
        Arch::X86_64 => "BUG: kernel NULL pointer dereference",
        Arch::Arm64 => "Unable to handle kernel NULL pointer dereference",
    };
    lab.wait_for(&format!("the guest's kernel has failed: {failed}"), WAIT_TIMEOUT);
    lab.wait_for(" at greeter.c:", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving one with a loop that does not end");
    lab.edit("greeter/greeter.c", wrong, "\tuint i;\n\n\tfor (;;)\n\t\tcpu_relax();\n");
    lab.wait_for("booting another guest", WAIT_TIMEOUT);
    lab.wait_for("is there a loop that does not end?", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving the driver that works");
    lab.edit("greeter/greeter.c", "\n\tfor (;;)\n\t\tcpu_relax();\n", "");
    lab.wait_for("booting another guest", WAIT_TIMEOUT);
    lab.wait_for("hello world", WAIT_TIMEOUT);
}

#[test]
fn a_device_in_c_is_exchanged_and_a_mistake_in_it_is_told_by_file_and_line() {
    let mut lab =
        Lab::start(&["qemu-device/examples/my-rng.c"], &["--watch", "--device", "my-rng.c"]);
    lab.wait_for("Device 1234:cafe (rev 10)", WAIT_TIMEOUT + FIRST_BUILD);
    lab.wait_for("0x000 0x00000000", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving a device that works");
    lab.edit("my-rng.c", "    return 0;", "    return addr == 0 ? 0x12345678 : 7;");
    lab.wait_for("the device was exchanged in place; its driver stays loaded", WAIT_TIMEOUT);
    lab.wait_for("0x000 0x12345678\n0x004 0x00000007", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving one that does not compile");
    lab.edit("my-rng.c", "0x12345678 : 7", "no_such_name : 7");
    lab.wait_for("no_such_name", WAIT_TIMEOUT);
    lab.wait_for("the old device stays", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving one that reads past its end");
    let past = "((uint8_t *)opaque)[addr + sizeof(MyRngState)]";
    lab.edit("my-rng.c", "addr == 0 ? no_such_name : 7", past);
    lab.wait_for("the device has ended by a mistake", WAIT_TIMEOUT);
    lab.wait_for("my_rng_read(): heap-buffer-overflow: the device accesses memory", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving one that works again");
    lab.edit("my-rng.c", past, "0x9abcdef0");
    lab.wait_for("the device's program had ended; starting the new one", WAIT_TIMEOUT);
    lab.wait_for("0x000 0x9ABCDEF0", WAIT_TIMEOUT);
    lab.wait_for("watching", WAIT_TIMEOUT);
    say("saving one that looks different, which only a guest that plugs it in can see");
    lab.edit("my-rng.c", "revision = 0x10", "revision = 0x11");
    lab.wait_for("not exchanged in place: ", WAIT_TIMEOUT);
    lab.wait_for("Device 1234:cafe (rev 11)", WAIT_TIMEOUT);
    assert_eq!(lab.said().matches("booting the guest").count(), guests(2), "{}", lab.said());
}
