//! A request that waits for bytes holds up nothing else.

use std::fs::{self, OpenOptions};
use std::io::Write;

use lab::{Guest, RunDir};

use super::rng::{Limit, Source};
use super::{Options, Rng, assert_delivers, guest, hwrng, read, select};
use crate::{assert_kernel_is_content, say};

#[test]
fn while_the_source_is_empty_the_device_and_its_neighbour_answer() {
    let run = RunDir::create("virtio-empty-source").expect("a run can be made");
    let fifo = run.path().join("source");
    mkfifo(&fifo);
    let empty = Options { source: Source::File("source".to_owned()), ..Options::default() };
    // The driver asks for bytes as soon as it finds the device, and waits for them from then on.
    let (_rngs, mut guest) = boot(&run, &empty);
    answers_while_it_waits(&mut guest);

    a_reader_waits_until_the_driver_goes(&mut guest);

    say("filling the source");
    let mut source = OpenOptions::new().write(true).open(&fifo).expect("the device has it open");
    source.write_all(&[0x5a; 4096]).expect("a pipe has room for that");
    select(&mut guest, "virtio_rng.1");
    assert_eq!(read(&mut guest, 64), [0x5a; 64]);
    assert_kernel_is_content(&mut guest);
}

#[test]
fn while_the_period_lasts_the_device_and_its_neighbour_answer() {
    let run = RunDir::create("virtio-long-period").expect("a run can be made");
    // The driver asks for 64 bytes at once. No machine is so slow that this period ends.
    let slow = Limit { bytes: 64, period: 3_600_000 };
    let (_rngs, mut guest) = boot(&run, &Options { limit: Some(slow), ..Options::default() });
    select(&mut guest, "virtio_rng.1");
    assert_eq!(read(&mut guest, 64).len(), 64, "what a period has");
    // The driver waits for more now. The hwrng core would too, and be no use for the neighbour.
    select(&mut guest, "virtio_rng.0");
    answers_while_it_waits(&mut guest);
    // The driver has reset the device meanwhile, which is no new period.
    a_reader_waits_until_the_driver_goes(&mut guest);
    assert_kernel_is_content(&mut guest);
}

/// A guest with a device that delivers, and one with these options.
fn boot<'run>(run: &'run RunDir, options: &Options) -> ([Rng<'run>; 2], Guest<'run>) {
    let good = Rng::start(run, "good", &Options::default()).expect("the device can be made");
    let waiting = Rng::start(run, "waiting", options).expect("the device can be made");
    say("booting a guest with a device that will wait");
    let guest = waiting.attach(good.attach(guest(run))).boot_from_saved().expect("the guest boots");
    ([good, waiting], guest)
}

fn answers_while_it_waits(guest: &mut Guest) {
    is_there(guest);
    assert_delivers(guest, "virtio_rng.0");
    say("unloading the driver while a request waits");
    guest.run("rmmod virtio_rng").expect("the driver unloads");
    guest.run("modprobe virtio-rng").expect("the driver loads");
    assert_eq!(hwrng(guest, "rng_available"), "virtio_rng.0 virtio_rng.1 none");
    is_there(guest);
    assert_delivers(guest, "virtio_rng.0");
}

fn a_reader_waits_until_the_driver_goes(guest: &mut Guest) {
    say("starting a reader that has to wait");
    select(guest, "virtio_rng.1");
    guest
        .run(
            "(dd if=/dev/hwrng of=/dev/null bs=64 count=1 2>/dev/null
            touch /run/ended) >/dev/null 2>&1 &
            sleep 1
            ! test -e /run/ended",
        )
        .expect("the reader waits");
    is_there(guest);
    say("unloading the driver under the reader");
    guest.run("rmmod virtio_rng").expect("the driver unloads");
    guest.run_until("test -e /run/ended").expect("the reader ends");
    guest.run("modprobe virtio-rng").expect("the driver loads");
}

/// Checks that configuration space and registers of the one that waits answer.
fn is_there(guest: &mut Guest) {
    let shown = guest.run("lspci -vv -s 00:03.0").expect("lspci works");
    assert!(shown.contains("Virtio 1.0 RNG"), "{shown}");
    // The interrupt line register, of which this kernel makes no use.
    guest.run("setpci -s 00:03.0 3c.b=0b").expect("its configuration space can be written");
    assert_eq!(guest.run("setpci -s 00:03.0 3c.b").expect("and read"), "0b\n");
    let status = guest.run("cat /sys/bus/virtio/devices/virtio1/status").expect("readable");
    assert_eq!(status, "0x0000000f\n", "its registers answer");
}

pub fn mkfifo(path: &std::path::Path) {
    // An earlier run's.
    let _ = fs::remove_file(path);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).expect("a pipe can be made");
}
