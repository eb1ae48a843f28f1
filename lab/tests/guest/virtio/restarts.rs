//! Guests that restart, or are stopped for a while, while a program reads.

use lab::{Guest, RunDir};
use serde_json::json;

use super::{Options, Rng, assert_delivers, assert_reader_goes_on, guest, start_reader, usual};
use crate::{assert_kernel_is_content, say};

#[test]
fn restarts_and_stops_in_the_middle_of_reading() {
    let run = RunDir::create("virtio-restarts").expect("a run can be made");
    let (_rng, mut guest) = usual(&run, &Options::default());
    start_reader(&mut guest);
    say("stopping and continuing");
    for command in ["stop", "cont"] {
        guest.qmp().execute(command, &json!({})).expect("QEMU does it");
    }
    assert_reader_goes_on(&mut guest);
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
    works_after_restart(&mut guest);
    say("restarting from inside");
    guest.run("(sleep 1; reboot -f) >/dev/null 2>&1 &").expect("the guest restarts");
    guest.wait_until_ready().expect("the guest boots again");
    works_after_restart(&mut guest);
}

#[test]
fn a_kernel_that_another_kernel_started_drives_it() {
    let run = RunDir::create("virtio-kexec").expect("a run can be made");
    let rng = Rng::start(&run, "rng", &Options::default()).expect("the device can be made");
    say("booting a guest");
    // Debian's arm64 kernel reads no files for kexec(8), which then needs memory for them itself.
    let guest = rng.attach(guest(&run)).memory(512).kernel_image();
    let mut guest = guest.boot().expect("the guest boots");
    assert_delivers(&mut guest, "virtio_rng.0");
    start_reader(&mut guest);
    say("starting its kernel again without a reset of the machine");
    guest
        .run(
            "cd /
            find . -xdev ! -path './boot/*' | cpio -o -H newc >/run/initramfs 2>/dev/null
            kexec -a -l /boot/vmlinuz --initrd=/run/initramfs --reuse-cmdline --append=second-kernel ||
                exit
            (sleep 1; kexec -e) >/dev/null 2>&1 &",
        )
        .expect("the guest loads a kernel");
    guest.wait_until_ready().expect("the second kernel boots");
    let words = guest.run("cat /proc/cmdline").expect("readable");
    assert!(words.contains("second-kernel"), "it runs with {words:?}");
    works_after_restart(&mut guest);
}

/// Leaves a reader running.
fn works_after_restart(guest: &mut Guest) {
    assert_delivers(guest, "virtio_rng.0");
    assert_kernel_is_content(guest);
    start_reader(guest);
}
