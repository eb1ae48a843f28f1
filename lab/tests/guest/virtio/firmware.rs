//! The guest's UEFI firmware, which has a virtio-rng driver of its own.

use lab::guest::Builder;
use lab::{Arch, Guest, RunDir, environment, packages};

use super::rng::chosen_has_no;
use super::{Options, Rng, assert_delivers, guest};
use crate::{assert_kernel_is_content, say};

#[test]
fn the_firmware_takes_the_kernels_seed_from_it() {
    let run = RunDir::create("virtio-firmware").expect("a run can be made");
    let options = Options { every_access: true, ..Options::default() };
    let rng = Rng::start(&run, "rng", &options).expect("the device can be made");
    say("booting a guest with UEFI firmware");
    let mut guest = rng.attach(uefi(guest(&run))).boot().expect("the guest boots");
    assert!(seed_table(&mut guest), "the firmware gave the kernel no seed");
    // Over vhost-user the server sees no register.
    if let Some(server) = rng.server().filter(|_| !chosen_has_no("registers in the log")) {
        assert!(firmware_used_the_queue(&server.log()), "the server's log has no sign of it");
    }
    assert_delivers(&mut guest, "virtio_rng.0");
    assert_kernel_is_content(&mut guest);
}

#[test]
fn without_the_device_the_firmware_has_no_seed() {
    let run = RunDir::create("virtio-firmware-without").expect("a run can be made");
    say("booting a guest with UEFI firmware and without a device");
    let mut guest = uefi(guest(&run)).boot().expect("the guest boots");
    assert!(!seed_table(&mut guest), "the seed came from somewhere else");
}

/// A guest that starts from UEFI firmware, on a processor without random numbers: the firmware would take
/// those.
fn uefi(guest: Builder<'_>) -> Builder<'_> {
    let environment = environment::get().expect("the lab's environment can be made");
    let image = environment.roots.guest.join(packages::uefi(environment.roots.arch).1);
    let guest = guest.arguments(&["-bios", &image.display().to_string()]);
    match environment.roots.arch {
        Arch::X86_64 => guest.arguments(&["-cpu", "max,rdrand=off,rdseed=off"]),
        // The lab's processor has none.
        Arch::Arm64 => guest,
    }
}

/// Whether there was a request between the first time that a driver was ready, the firmware's, and
/// the second, the kernel's.
fn firmware_used_the_queue(log: &str) -> bool {
    let mut drivers = log.split("the driver is ready");
    let (_, firmware, kernel) = (drivers.next(), drivers.next(), drivers.next());
    kernel.is_some() && firmware.is_some_and(|log| log.contains("NOTIFY"))
}

/// Whether the firmware gave the kernel a random seed: the kernel lists what it was given.
fn seed_table(guest: &mut Guest) -> bool {
    let log = guest.run("dmesg | grep 'efi: '").expect("the kernel was started by UEFI firmware");
    say(&log);
    log.contains(" RNG=0x")
}
