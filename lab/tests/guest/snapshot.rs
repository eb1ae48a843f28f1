//! Guests that go on from a snapshot. Neither QEMU nor libvirt saves the state of a vfio-user
//! device: afterwards it is as after a reset, without addresses. `my_rng.ko` restores its device;
//! for `virtio_rng`, the device has to be removed from the bus and found again.

use std::fs;
use std::time::{Duration, Instant};

use lab::guest::Builder;
use lab::{Arch, Choice, Guest, RunDir, Server, paths};
use serde_json::{Value, json};

use crate::virtio::{assert_delivers, select};
use crate::{assert_kernel_is_content, load_module, run_tester, say};

/// How long QEMU may take to save or load a guest on a loaded machine, and a guest to draw numbers.
const WAIT_TIMEOUT: Duration = Duration::from_secs(300);

/// Draws a kilobyte of the numbers, by which a missing one (four zero bytes) shows.
const READ: &str = "head -c 1024 /dev/my_rng_driver >/run/numbers";
const READ_HWRNG: &str = "echo my_rng.0 >/sys/class/misc/hw_random/rng_current
    head -c 1024 /dev/hwrng >/run/numbers";

/// A program that draws numbers until it is told to stop.
const START_READER: &str = "(while ! test -e /run/stop; do
    head -c 65536 /dev/my_rng_driver || echo failed >/run/failed
    done >/run/numbers 2>&1; touch /run/stopped) >/dev/null 2>&1 &";
const STOP_READER: &str = "size=$(wc -c </run/numbers)
    while test $(wc -c </run/numbers) -lt $((size + 131072)); do sleep 0.1; done
    touch /run/stop
    while ! test -e /run/stopped; do sleep 0.1; done
    ! test -e /run/failed";

/// Both devices' servers.
struct Servers<'run> {
    my_rng: Server<'run>,
    virtio: Server<'run>,
}

impl<'run> Servers<'run> {
    fn start(run: &'run RunDir) -> Self {
        let my_rng = Server::start(run, "my-rng", &["-v", "--generator", "glibc"]);
        let virtio = Server::start(run, "rng", &["-v", "--device", "virtio-rng"]);
        Self { my_rng: my_rng.expect("it starts"), virtio: virtio.expect("it starts") }
    }

    fn guest(&self, run: &'run RunDir, name: &str) -> Builder<'run> {
        let guest = Guest::builder(run).name(name).attach(&self.my_rng).attach(&self.virtio);
        // The guest's clock jumps when it goes on, which looks like a kernel that hung.
        guest.append("rcupdate.rcu_cpu_stall_suppress=1 nowatchdog")
    }
}

#[test]
fn no_zeros_are_random_numbers_after_loadvm() {
    let run = RunDir::create("loadvm").expect("a run can be made");
    let servers = Servers::start(&run);
    say("booting a guest with both devices");
    let mut guest = servers.guest(&run, "guest").boot().expect("the guest boots");
    add_disk(&mut guest, "snapshots.qcow2");
    load_module(&mut guest);
    guest.run(READ).expect("the device gives numbers");
    monitor(&mut guest, "savevm idle");
    guest.run(START_READER).expect("the guest starts a program");
    guest.run_until("test -s /run/numbers").expect("it draws numbers");
    monitor(&mut guest, "savevm reading");
    monitor(&mut guest, "stop");
    monitor(&mut guest, "savevm paused");
    monitor(&mut guest, "cont");

    // Each time something else is the first that the driver does.
    for (snapshot, command) in
        [("idle", READ), ("idle", READ_HWRNG), ("reading", STOP_READER), ("paused", STOP_READER)]
    {
        say(&format!("loading the snapshot {snapshot}, then: {command}"));
        // A guest is after loadvm what it was before: running or paused.
        let paused = snapshot == "paused";
        if paused {
            monitor(&mut guest, "stop");
        }
        monitor(&mut guest, &format!("loadvm {snapshot}"));
        if paused {
            assert_paused(&mut guest);
            monitor(&mut guest, "cont");
        }
        let ended = guest.try_run_for(command, WAIT_TIMEOUT).expect("the guest answers");
        assert_eq!(ended.status, 0, "{}", ended.text);
        let zeros = "od -v -An -tx4 -w4 /run/numbers | grep -c ' 00000000' || true";
        assert_eq!(guest.run(zeros).expect("the guest has od").trim(), "0");
        assert_restored(&mut guest);
    }
    say("loading the snapshot idle; then a seed");
    monitor(&mut guest, "loadvm idle");
    run_tester(&mut guest, "--generator glibc --only ioctls,seeding");
    assert_restored(&mut guest);
    if virtio_comes_back(&mut guest) {
        let first = entropy(&mut guest);
        say("loading the snapshot idle once more, for other bytes");
        monitor(&mut guest, "loadvm idle");
        assert!(virtio_comes_back(&mut guest));
        assert_ne!(first, entropy(&mut guest), "two guests of one snapshot");
    } else {
        // Its driver waits for it, and so does every reader of /dev/hwrng.
        guest.reset().expect("the guest boots again");
        load_module(&mut guest);
    }
    guest.run(READ_HWRNG).expect("it is the current one again");
    assert_kernel_is_content(&mut guest);
    say("ending the server");
    drop(servers.my_rng);
    for path in ["/dev/my_rng_driver", "/dev/hwrng"] {
        let read = format!("dd if={path} bs=4 count=1 2>&1 >/run/numbers; wc -c </run/numbers");
        let said = guest.run(&read).expect("the guest lives on");
        assert!(said.contains("No such device") && said.ends_with("\n0\n"), "{path}: {said}");
    }
}

#[test]
fn a_guest_that_was_migrated_to_a_file_goes_on() {
    let run = RunDir::create("incoming").expect("a run can be made");
    let servers = Servers::start(&run);
    say("booting a guest with both devices");
    let guest = servers.guest(&run, "first").kernel(Choice::Newest);
    let mut guest = guest.boot().expect("the guest boots");
    load_module(&mut guest);
    say("saving it");
    guest.qmp().execute("migrate", &json!({"uri": "file:saved"})).expect("QEMU saves it");
    wait_for(&mut guest, "query-migrate", |state| state["status"] == "completed");
    guest.kill().expect("QEMU ends");
    say("going on from the file");
    let second = servers.guest(&run, "second").kernel(Choice::Newest);
    let second = second.arguments(&["-incoming", "file:saved"]);
    let mut guest = second.start().expect("QEMU starts");
    wait_for(&mut guest, "query-status", |state| state["status"] == "running");
    run_tester(&mut guest, "--generator glibc --only ioctls,seeding");
    assert_restored(&mut guest);
    if !virtio_comes_back(&mut guest) {
        guest.reset().expect("the guest boots again");
        assert_delivers(&mut guest, "virtio_rng.0");
    }
    assert_kernel_is_content(&mut guest);
}

/// Bytes of the entropy device: as many as the guest's kernel reads at once, so that it keeps none.
fn entropy(guest: &mut Guest) -> String {
    select(guest, "virtio_rng.0");
    let read = "dd if=/dev/hwrng bs=64 count=1 2>/dev/null | od -An -tx1";
    let bytes = guest.run(read).expect("it gives bytes");
    assert_eq!(bytes.split_whitespace().count(), 64, "{bytes}");
    bytes
}

fn assert_paused(guest: &mut Guest) {
    let state = guest.qmp().execute("query-status", &json!({})).expect("QEMU answers");
    assert_eq!(state["status"], "paused", "{state}");
}

/// The driver says what it did, once.
fn assert_restored(guest: &mut Guest) {
    let said = guest.run("dmesg | grep my_rng").expect("the driver says something");
    assert_eq!(said.matches("lost configuration restored").count(), 1, "{said}");
}

/// Whether the entropy device comes back as docs/libvirt.md tells the guest's administrator to do it. On
/// an Arm machine it does not: places on its bus where no device answers read as all ones, and Linux waits
/// for a status of 0 before it lets the device go.
fn virtio_comes_back(guest: &mut Guest) -> bool {
    if Arch::guest() != Arch::X86_64 {
        let status = "for d in /sys/bus/pci/devices/*; do
            grep -q 0x1044 $d/device || continue
            devmem $(sed -n '5s/ .*//p' $d/resource) 32
            done";
        assert_eq!(guest.run(status).expect("devmem works").trim(), "0xFFFFFFFF");
        return false;
    }
    say("removing the entropy device and looking for it again");
    let text = fs::read_to_string(paths::checkout().join("docs/libvirt.md")).expect("it is there");
    let commands = text.split("  ```\n").nth(1).expect("a block in a list");
    assert!(commands.contains("/sys/bus/pci/rescan"), "{commands}");
    guest.run(commands).expect("the guest's kernel does it");
    select(guest, "virtio_rng.0");
    assert_delivers(guest, "virtio_rng.0");
    guest.run(READ).expect("the teaching device still gives numbers");
    true
}

/// A disk without a device, on which QEMU keeps snapshots.
fn add_disk(guest: &mut Guest, file: &str) {
    let mut execute = |command: &str, arguments: Value| {
        guest.qmp().execute(command, &arguments).expect("QEMU does it");
        if command == "blockdev-create" {
            let jobs = wait_for(guest, "query-jobs", |jobs| jobs[0]["status"] == "concluded");
            assert_eq!(jobs[0]["error"], Value::Null, "{jobs}");
            guest.qmp().execute("job-dismiss", &json!({"id": "disk"})).expect("it has ended");
        }
    };
    let empty = json!({"driver": "file", "filename": file, "size": 0});
    execute("blockdev-create", json!({"job-id": "disk", "options": empty}));
    execute("blockdev-add", json!({"driver": "file", "node-name": "file", "filename": file}));
    let disk = json!({"driver": "qcow2", "file": "file", "size": 1 << 20});
    execute("blockdev-create", json!({"job-id": "disk", "options": disk}));
    execute("blockdev-add", json!({"driver": "qcow2", "node-name": "disk", "file": "file"}));
}

/// A command of QEMU's monitor, which prints nothing unless it fails.
fn monitor(guest: &mut Guest, command: &str) {
    let arguments = json!({"command-line": command});
    let said = guest.qmp().execute("human-monitor-command", &arguments).expect("QEMU answers");
    assert_eq!(said, "", "{command}");
}

/// Asks until the answer is what is waited for.
fn wait_for(guest: &mut Guest, question: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let answer = guest.qmp().execute(question, &json!({})).expect("QEMU answers");
        if wanted(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < WAIT_TIMEOUT, "{question}: {answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
