//! What the kit promises of devices in general, tried with one that asks for much and then panics.

use lab::device_crate::DeviceCrate;
use lab::{Guest, RunDir, Server, paths};

use crate::{assert_kernel_is_content, bases, devmem, devmem_write, say};

const DEVICE: &str = "long-reader";
/// Offsets of its registers.
const LENGTH: u64 = 0;
const PANIC: u64 = 4;
const ADDRESS: u64 = 8;

/// Prints where the largest part of the guest's memory begins: it is the last one.
const MEMORY: &str = "sed -n 's/-.* : System RAM$//p' /proc/iomem | tail -n 1";

fn start(run: &RunDir) -> Server<'_> {
    let source = paths::checkout().join("lab/guest-devices/long_reader.rs");
    let program = DeviceCrate::open(&source).and_then(|source| source.build());
    let program = program.expect("the device can be built");
    Server::start_program(run, DEVICE, &program, &["-v"]).expect("it starts")
}

/// Enables the device once it is there, and tells it where guest memory is. Returns the address of its
/// registers.
fn set_up(guest: &mut Guest<'_>) -> u64 {
    guest.run_until("lspci -n -d 1234:cafe | grep .").expect("the guest finds the device");
    guest.run("setpci -d 1234:cafe COMMAND=6:6").expect("the device can be enabled");
    let base = bases(guest)[0];
    let memory = guest.run(MEMORY).expect("the kernel knows its memory");
    let memory = u32::from_str_radix(memory.trim(), 16).expect("an address");
    devmem_write(guest, base + ADDRESS, memory);
    base
}

/// Lets the device read guest memory, and waits until it has.
fn read(guest: &mut Guest<'_>, base: u64, length: u32) {
    devmem_write(guest, base + LENGTH, length);
    let done = format!("[ $(devmem {:#x} 32) = 0x{length:08X} ]", base + LENGTH);
    guest.run_until(&done).expect("the access ends");
}

/// QEMU answers what it cannot send at once with a reply that is cut. 217,088 bytes went well.
#[test]
fn a_long_read_of_private_memory_ends_and_a_panic_leaves_the_guest_alone() {
    let run = RunDir::create(DEVICE).expect("a run can be made");
    let mut server = start(&run);
    say("booting a guest with memory that is not shared");
    let guest = Guest::builder(&run).private_memory().without_driver().removable().attach(&server);
    let mut guest = guest.boot_from_saved().expect("the guest boots");
    let base = set_up(&mut guest);
    for length in [4 << 10, 64 << 10, 256 << 10, 1 << 20, 16 << 20] {
        say(&format!("reading {length} bytes"));
        read(&mut guest, base, length);
    }

    say("the device panics");
    devmem_write(&mut guest, base + PANIC, 1);
    assert_eq!(devmem(&mut guest, base + LENGTH), u32::MAX);
    server.wait_for_log("the driver wants it so. It is disabled").expect("the log says why");
    assert_kernel_is_content(&mut guest);
    server.stop().expect("it ends");
    server = start(&run);
    guest.unplug(DEVICE).expect("the device can be unplugged");
    guest.plug(&server).expect("the device can be plugged in again");
    let base = set_up(&mut guest);
    read(&mut guest, base, 4 << 10);
    assert_kernel_is_content(&mut guest);
}
