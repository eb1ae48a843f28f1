//! Tests in real guests. They share the lab's QEMU, kernels and builds, and run as many at once as
//! the machine has room for, which the lab sees to (`lab::slots`).

mod device;
mod edu;
mod exchange;
mod hotplug;
mod keeper;
mod lab_program;
mod libvirt;
mod links;
mod long_reader;
mod module;
mod my_rng;
mod own_driver;
mod patched_qemu;
mod private_memory;
mod recorded;
mod replay;
mod server_end;
mod server_process;
mod several;
mod skip;
mod snapshot;
mod systemd;
mod virtio;
mod watch;

use lab::guest::Builder;
use lab::{Arch, Guest, RunDir, Server};

use my_rng::{MyRng, Options};

/// Whether a test is left out because it is about PCs, and guests of another architecture were
/// chosen; says so.
fn left_out_beside_pcs(what: &str) -> bool {
    let arch = Arch::guest();
    if arch != Arch::X86_64 {
        say(&format!("left out on {arch}: {what}"));
    }
    arch != Arch::X86_64
}

/// Says what a test is doing; shown when it fails, or with `--nocapture`.
fn say(what: &str) {
    println!("test: {what}");
}

/// The device of the lab's usual server, as `lspci -v -s` shows it, tabs and all.
fn expected_lspci(slot: &str, memory: &str) -> String {
    format!(
        "{slot} Unclassified device [00ff]: Device 1234:cafe (rev 10)\n\
         \tSubsystem: Red Hat, Inc. Device 1100\n\
         \tFlags: fast devsel\n\
         \tMemory at {memory} (32-bit, non-prefetchable) [size=4K]\n"
    )
}

/// `lspci -v` of all our devices without what depends on the machine: the slot's line, which
/// comes with hot-plug, and empty lines.
fn lspci(guest: &mut Guest) -> String {
    let text = guest.run("lspci -v -d 1234:cafe").expect("lspci works");
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with("\tPhysical Slot:"))
        .flat_map(|line| [line, "\n"])
        .collect()
}

/// Loads the kernel module and checks that its character device is there.
fn load_module(guest: &mut Guest) {
    guest.run("insmod /root/my_rng.ko").expect("the module loads");
    guest.run_until("test -c /dev/my_rng_driver").expect("it makes its character device");
}

/// Runs the tester with more options; all of its checks have to run and pass.
fn run_tester(guest: &mut Guest, options: &str) {
    say("running the tester");
    let command = format!("my-rng-tester --strict {options}");
    let output = guest.try_run_for(&command, TESTER).expect("the guest answers");
    let bad = |line: &&str| line.starts_with("not ok") || line.contains("# SKIP");
    let failed: Vec<&str> = output.text.lines().filter(bad).collect();
    assert_eq!(output.status, 0, "failed: {failed:?}\n{}", output.text);
    assert!(failed.is_empty(), "{}", output.text);
    assert!(output.text.contains("\nok 1"), "{}", output.text);
}

/// How long the tester may take in an emulated guest on a loaded machine.
const TESTER: std::time::Duration = std::time::Duration::from_secs(300);

/// Checks that the guest's kernel has nothing to complain about.
fn assert_kernel_is_content(guest: &mut Guest) {
    let log = guest.run("dmesg").expect("dmesg works");
    for trouble in ["WARNING:", "BUG:", "Oops", "Call Trace", "soft lockup", "hung task"] {
        assert!(!log.contains(trouble), "{trouble} in the guest's kernel log:\n{log}");
    }
}

/// The number that a 32-bit read at an address gives.
fn devmem(guest: &mut Guest, address: u64) -> u32 {
    let text = guest.run(&format!("devmem {address:#x} 32")).expect("devmem works");
    let digits = text.trim().trim_start_matches("0x");
    u32::from_str_radix(digits, 16).unwrap_or_else(|_| panic!("devmem printed {text:?}"))
}

/// Writes a 32-bit number at an address.
fn devmem_write(guest: &mut Guest, address: u64, value: u32) {
    guest.run(&format!("devmem {address:#x} 32 {value}")).expect("devmem works");
}

/// The addresses of our devices' registers, in the order of the bus.
fn bases(guest: &mut Guest) -> Vec<u64> {
    let text = guest
        .run("cd /sys/bus/pci/devices; for d in *; do grep -q 0xcafe $d/device && head -n 1 $d/resource; done; true")
        .expect("sysfs can be read");
    text.lines()
        .map(|line| {
            let start = line.split(' ').next().unwrap_or_default().trim_start_matches("0x");
            u64::from_str_radix(start, 16).unwrap_or_else(|_| panic!("no address in {line:?}"))
        })
        .collect()
}

/// A device, and a guest with it on the smallest machine.
fn usual(run: &RunDir, options: Options) -> (MyRng<'_>, Guest<'_>) {
    let device = MyRng::start(run, "my-rng", options).expect("the device can be made");
    say("booting a guest");
    let guest = device.attach(Guest::builder(run)).boot_from_saved().expect("the guest boots");
    (device, guest)
}

/// A server, and a guest with its device on the smallest machine.
fn served(run: &RunDir) -> (Server<'_>, Guest<'_>) {
    served_in(run, Guest::builder(run))
}

/// The same, with a device that can be unplugged on every machine.
fn served_removable(run: &RunDir) -> (Server<'_>, Guest<'_>) {
    served_in(run, Guest::builder(run).removable())
}

fn served_in<'run>(run: &'run RunDir, guest: Builder<'run>) -> (Server<'run>, Guest<'run>) {
    let server = Server::start(run, "my-rng", &["-v"]).expect("the server starts");
    say("booting a guest");
    let guest = guest.attach(&server).boot_from_saved().expect("the guest boots");
    (server, guest)
}
