//! QEMU's educational device, and the example that does the same over vfio-user: a driver that tries
//! everything cannot tell them apart.

use std::path::Path;
use std::time::Duration;

use lab::device_source::DeviceSource;
use lab::module_build::{build_folder, complaints};
use lab::{Arch, Choice, Guest, RunDir, Server, environment, patched_qemu, paths};

use crate::skip::skip;
use crate::{assert_kernel_is_content, say};

/// How QEMU names its own device.
const DEVICE: &str = "edu";
/// Where the modules are that try one.
const MODULES: &str = "lab/guest-modules";
/// Interrupts without a cause among a thousand, on a machine that is busy with other things. QEMU
/// looks at the pin in another thread than the guest's, so that a few can always come too late.
const FEW: u32 = 20;

/// How long the module may take. It gives each interrupt ten seconds.
const CHECKS: Duration = Duration::from_secs(300);

#[test]
fn by_msi_the_example_does_what_qemus_own_does() {
    assert_same("MSI", "");
}

#[test]
fn by_pin_the_example_does_what_qemus_own_does() {
    assert_same("pin", "intx=1");
}

#[test]
fn the_example_in_c_does_what_qemus_own_does() {
    assert_device_in_c(&paths::checkout().join("qemu-device/examples/edu.c"));
}

#[test]
fn qemus_own_source_does_the_same_in_a_process_of_its_own() {
    let source = patched_qemu::source().join("hw/misc/edu.c");
    if source.is_file() {
        assert_device_in_c(&source);
    } else {
        let why = anyhow::anyhow!("no {}; ./scripts/build-qemu.sh fetches it", source.display());
        skip("edu::qemus_own_source_does_the_same_in_a_process_of_its_own", &why);
    }
}

#[test]
fn by_pin_an_acknowledged_interrupt_does_not_come_again() {
    let run = RunDir::create("edu-count").expect("a run can be made");
    let server = start_example(&run);
    say("booting a guest with the example");
    let guest = Guest::builder(&run).without_driver().attach(&server);
    let mut guest = guest.boot_from_saved().expect("the guest boots");
    let said = report_of(&mut guest, "edu_count", "");
    let raised = "1000 raises: handled 1000, lost 0, without a cause ";
    let without_cause = said.trim().strip_prefix(raised);
    let without_cause = without_cause.and_then(|count| count.parse::<u32>().ok());
    assert!(without_cause.is_some_and(|count| count <= FEW), "{said}");
}

#[test]
fn it_can_be_unplugged_and_its_server_restarted_while_a_driver_uses_msi() {
    let run = RunDir::create("edu-hotplug").expect("a run can be made");
    let mut server = start_example(&run);
    say("booting a guest with the example");
    let guest = Guest::builder(&run).without_driver().removable().attach(&server);
    let mut guest = guest.boot_from_saved().expect("the guest boots");
    report(&mut guest, "");
    for restart in [Restart::No, Restart::Stop, Restart::Kill] {
        say(&format!("unplugging and plugging in, restart of the server: {restart:?}"));
        guest.run("dmesg -c >/dev/null").expect("the log can be cleared");
        match restart {
            Restart::No => {}
            Restart::Stop => {
                server.stop().expect("it ends");
                server = start_example(&run);
            }
            Restart::Kill => {
                server.kill().expect("it ends");
                server = start_example(&run);
            }
        }
        guest.unplug(DEVICE).expect("the device can be unplugged");
        guest.plug(&server).expect("the device can be plugged in again");
        guest.run_until("dmesg | grep 'edu_check.*done'").expect("the module tries it again");
        assert_kernel_is_content(&mut guest);
    }
}

/// What happens to the server while its device is in the guest.
#[derive(Clone, Copy, Debug)]
enum Restart {
    No,
    Stop,
    Kill,
}

fn assert_same(interrupts: &str, parameters: &str) {
    let expected = expected(interrupts);
    let run = RunDir::create(&format!("edu-{interrupts}")).expect("a run can be made");

    // Both boot: firmware sets more bits of a command register than a hot-plug does.
    say("booting a guest with QEMU's own device");
    // In the slot that the example gets.
    let guest = Guest::builder(&run).without_driver().arguments(&["-device", "edu,addr=2"]);
    let mut guest = guest.boot().expect("the guest boots");
    let own = report(&mut guest, parameters);
    let own_lspci = lspci(&mut guest);
    drop(guest);
    assert_lines(&own, &expected, "QEMU's own");

    let server = start_example(&run);
    say("booting a guest with the example");
    let guest = Guest::builder(&run).without_driver().attach(&server);
    let mut guest = guest.boot().expect("the guest boots");
    let ours = report(&mut guest, parameters);
    assert_lines(&ours, &expected, "the example");
    assert_eq!(lspci(&mut guest), own_lspci);
    if Arch::guest() != Arch::X86_64 {
        return;
    }
    server
        .wait_for_log("BAR 0: read of 2 bytes at 0x6: inside LIVENESS (4 bytes at 0x4)")
        .expect("it names the access that fits no register");
}

/// Checks that a device in C does by MSI and by pin what QEMU's own does.
fn assert_device_in_c(source: &Path) {
    let run = RunDir::create("edu-c").expect("a run can be made");
    let program = DeviceSource::open(source, true).and_then(|source| source.build());
    let program = program.expect("it can be built");
    let server = Server::start_program(&run, DEVICE, &program, &["-v"]).expect("it starts");
    for (interrupts, parameters) in [("MSI", ""), ("pin", "intx=1")] {
        say(&format!("booting a guest with the device in C, interrupts by {interrupts}"));
        let guest = Guest::builder(&run).name(interrupts).without_driver().attach(&server);
        let mut guest = guest.boot().expect("the guest boots");
        let said = report(&mut guest, parameters);
        assert_lines(&said, &expected(interrupts), "the device in C");
    }
}

/// Checks the example in a guest as QEMU's own is checked.
pub fn assert_example_works(guest: &mut Guest) {
    assert_lines(&report(guest, ""), &expected("MSI"), "the example");
}

fn assert_lines(said: &str, expected: &str, device: &str) {
    for (said, expected) in said.lines().zip(expected.lines()) {
        assert_eq!(said, expected, "{device}");
    }
    assert_eq!(said.lines().count(), expected.lines().count(), "{device} said\n{said}");
}

/// Starts the example's server.
pub fn start_example(run: &RunDir) -> Server<'_> {
    let example = paths::checkout().join("crates/vfio-user-device/examples/edu.rs");
    let program = DeviceSource::open(&example, true).and_then(|example| example.build());
    let program = program.expect("the example can be built");
    Server::start_program(run, DEVICE, &program, &["-v"]).expect("it starts")
}

/// What the module that tries everything says of the device.
fn report(guest: &mut Guest, parameters: &str) -> String {
    report_of(guest, "edu_check", parameters)
}

/// What a module says of the device.
pub fn report_of(guest: &mut Guest, module: &str, parameters: &str) -> String {
    let environment = environment::get().expect("the lab's environment can be made");
    let kernel = environment.kernel(Choice::default());
    let source = paths::checkout().join(MODULES).join(module);
    let built = build_folder(&source, kernel).expect("the module builds");
    assert_eq!(complaints(&built.said), [""; 0]);
    guest.copy_in(&built.module, &format!("{module}.ko")).expect("it can be copied");
    // On a busy machine, an emulated kernel may complain of how long it took to boot.
    guest.run("dmesg -c >/dev/null").expect("the log can be cleared");
    let command = format!("insmod {module}.ko {parameters}");
    let loaded = guest.try_run_for(&command, CHECKS).expect("the guest answers");
    assert_eq!(loaded.status, 0, "{}", loaded.text);
    assert_kernel_is_content(guest);
    let said = format!("dmesg | sed -n 's/.*{module} [0-9a-f:.]*: //p'");
    guest.run(&said).expect("the log can be read")
}

/// What lspci says, but for the slot's line that comes with hot-plug.
fn lspci(guest: &mut Guest) -> String {
    let text = guest.run("lspci -vvv -d 1234:11e8").expect("lspci works");
    let lines = text.lines().filter(|line| !line.starts_with("\tPhysical Slot:"));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// What the module says in a guest. All memory of arm64 guests lies above the 28 bits of an address
/// that the device knows, so that no driver does DMA there. Accesses of less than 4 bytes, which QEMU's own
/// refuses, end the kernel there.
fn expected(interrupts: &str) -> String {
    let all = EXPECTED.replace("HOW", interrupts);
    if Arch::guest() == Arch::X86_64 {
        return all;
    }
    let dma = ["DMA of ", "DMA command ", "DMA with ", "time to wait ", "no DMA "];
    let narrow = ["liveness in 1 byte ", "liveness at its second half "];
    let all = all.replace("within 28 bits: yes", "within 28 bits: none");
    let left_out = |line: &str| dma.iter().chain(&narrow).any(|begin| line.starts_with(begin));
    let rest = all.lines().filter(|line| !left_out(line));
    rest.flat_map(|line| [line, "\n"]).collect()
}

/// What the documentation has the device answer, and QEMU's own does where it says nothing.
const EXPECTED: &str = "\
BAR 0 of 1048576 bytes
memory within 28 bits: yes
interrupts by HOW
identification 0x010000ed
liveness 0x00000000: 0xffffffff
liveness 0x00000001: 0xfffffffe
liveness 0x12345678: 0xedcba987
liveness 0xdeadbeef: 0x21524110
liveness 0xffffffff: 0x00000000
factorial of 0 by polling: 1 (0)
factorial of 1 by polling: 1 (0)
factorial of 5 by polling: 120 (0)
factorial of 12 by polling: 479001600 (0)
factorial of 13 by polling: 1932053504 (0)
factorial of 33 by polling: 2147483648 (0)
factorial of 34 by polling: 0 (0)
factorial of 1000 by polling: 0 (0)
status 0x80
factorial of 10 by interrupt 0x1: 3628800
raise 0x1: interrupt 0x1, then 0x0
raise 0x12345678: interrupt 0x12345678, then 0x0
raise 0xffffffff: interrupt 0xffffffff, then 0x0
raise 0x0: interrupt 0x0
raise 0x30 and 0x3: status 0x33
acknowledge 0x11: status 0x22
acknowledge all: status 0x0
DMA of 4096 bytes at offset 0: 4096 of 4096 bytes are right
DMA of 100 bytes at offset 0x7fd: 4096 of 4096 bytes are right
DMA of 1 bytes at the last byte: 4096 of 4096 bytes are right
DMA command afterwards 0x2
DMA of 100 bytes at address bit 28: 4096 of 4096 bytes are right
DMA of 100 bytes at address bit 63: 4096 of 4096 bytes are right
DMA with interrupt 0x100: command 0x4
time to wait for it: yes
no DMA with interrupt 0x0: command 0x4
liveness after odd writes 0xfefdfcfb
liveness in 1 byte 0x00, in 2 bytes 0x0000
liveness at its second half 0x0000
identification in 8 bytes 0xffffffffffffffff
factorial in 8 bytes 0xffffffffffffffff
DMA source in 8 bytes 0x1122334455667788, in 4 0x55667788
DMA source after odd writes 0x1122334455667788
DMA source after a write of 4 bytes 0x00000000aabbccdd
place 0xc: 0xffffffff
place 0x60: 0xffffffff
place 0x64: 0xffffffff
place 0x84: 0xffffffff
place 0xa0: 0xffffffff
place 0x40000: 0xffffffff
place 0xffffc: 0xffffffff
done
";
