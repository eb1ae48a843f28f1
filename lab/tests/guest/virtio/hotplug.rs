//! The device comes and goes while a program reads.

use lab::{Guest, RunDir};

use super::{Options, Rng, assert_delivers, guest, hwrng, start_reader};
use crate::server_process::{descriptors, memory};
use crate::{assert_kernel_is_content, say};

/// The round after which the server's memory is compared with what it was then.
const WARM: usize = 5;
/// What it may have more, in KiB: some pages that were never touched before.
const GROWTH: usize = 256;

#[test]
fn plugging_in_and_out_while_a_program_reads() {
    plugging("virtio-hotplug", 20);
}

#[test]
#[ignore = "takes ten minutes; scripts/soak.sh runs it"]
fn plugging_in_and_out_five_hundred_times() {
    plugging("virtio-hotplug-500", 500);
}

fn plugging(name: &str, rounds: usize) {
    let run = RunDir::create(name).expect("a run can be made");
    // QEMU 11.1 ends when a vfio-user device with MSI-X is unplugged: it removes the pending bits'
    // memory region from a BAR that is gone already (vfio_user_msix_teardown).
    let options = Options { without_msix: true, ..Options::default() };
    let rng = Rng::start(&run, "rng", &options).expect("the device can be made");
    say("booting a guest without a device");
    let mut guest = rng.announce(guest(&run)).boot_from_saved().expect("the guest boots");
    start_reader(&mut guest);
    let mut warm = None;
    for round in 0..rounds {
        say(&format!("round {round}"));
        rng.plug(&mut guest).expect("the device can be plugged in");
        is_taken(&mut guest);
        rng.unplug(&mut guest).expect("the device can be unplugged");
        assert_eq!(hwrng(&mut guest, "rng_available"), "none");
        if round == WARM {
            warm = used(&rng);
        }
    }
    assert_kernel_is_content(&mut guest);
    if let (Some((descriptors, memory)), Some(after)) = (warm, used(&rng)) {
        say(&format!("{descriptors} descriptors and {memory} KiB, then {after:?}"));
        assert!(after.0 <= descriptors + 1, "{after:?} descriptors and KiB, {descriptors} before");
        assert!(after.1 <= memory + GROWTH, "{after:?} descriptors and KiB, {memory} KiB before");
    }
}

/// The descriptors and KiB of memory that the device's server uses.
fn used(rng: &Rng) -> Option<(usize, usize)> {
    let server = rng.server()?;
    Some((descriptors(server).expect("countable"), memory(server).expect("known")))
}

#[test]
fn the_guest_takes_a_plugged_device_out_and_finds_it_again() {
    let run = RunDir::create("virtio-rescan").expect("a run can be made");
    let rng = Rng::start(&run, "rng", &Options::default()).expect("the device can be made");
    say("booting a guest without a device");
    let mut guest = rng.announce(guest(&run)).boot_from_saved().expect("the guest boots");
    start_reader(&mut guest);
    rng.plug(&mut guest).expect("the device can be plugged in");
    is_taken(&mut guest);
    for round in 0..10 {
        say(&format!("round {round}"));
        let remove = "echo 1 >$(readlink -f /sys/bus/virtio/drivers/virtio_rng/virtio*)/../remove";
        guest.run(remove).expect("it can be removed");
        assert_eq!(hwrng(&mut guest, "rng_available"), "none");
        guest.run("echo 1 >/sys/bus/pci/rescan").expect("the bus can be scanned");
        is_taken(&mut guest);
    }
    assert_kernel_is_content(&mut guest);
}

/// Waits until the driver has the device, and checks that it works.
fn is_taken(guest: &mut Guest) {
    guest
        .run_until("grep -q virtio_rng.0 /sys/class/misc/hw_random/rng_current")
        .expect("the driver takes it");
    assert_delivers(guest, "virtio_rng.0");
}
