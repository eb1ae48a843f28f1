//! Our server behind QEMU's `vhost-user-rng-pci`. `VIRTIO_RNG=vhost-user` runs all the other tests
//! like this; here is what shows without that.

use lab::{Guest, RunDir};
use serde_json::json;

use super::rng::{Limit, Source, stream};
use super::{Options, Rng, assert_delivers, assert_reader_goes_on, guest, read, start_reader};
use crate::{assert_kernel_is_content, say};

/// Where the guest's bytes are looked for: its kernel has read some before, not this many.
const SEARCHED: usize = 1 << 18;

#[test]
fn one_guest_after_the_other_is_served_over_vhost_user() {
    let run = RunDir::create("vhost-user").expect("a run can be made");
    let options = Options { source: Source::Stream(1), ..Options::default() };
    let rng = Rng::over_vhost_user(&run, "rng", &options).expect("the device can be made");
    for number in ["first", "second"] {
        say(&format!("booting the {number} guest"));
        let mut guest = rng.attach(guest(&run).name(number)).boot().expect("the guest boots");
        assert_delivers(&mut guest, "virtio_rng.0");
        let bytes = read(&mut guest, 64);
        assert!(stream(1, SEARCHED).windows(64).any(|piece| piece == bytes), "not the source's");
        guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=128").expect("64 KiB can be read");
        stops_and_restarts(&mut guest);
        assert_kernel_is_content(&mut guest);
        guest.kill().expect("QEMU ends");
    }
}

/// Each of these stops the queue, and may do so while a request is in it.
fn stops_and_restarts(guest: &mut Guest) {
    start_reader(guest);
    for command in ["stop", "cont"] {
        guest.qmp().execute(command, &json!({})).expect("QEMU does it");
    }
    assert_reader_goes_on(guest);
    for _ in 0..3 {
        guest.run("rmmod virtio_rng").expect("the driver unloads");
        guest.run("modprobe virtio-rng").expect("the driver loads");
        assert_delivers(guest, "virtio_rng.0");
    }
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
    assert_delivers(guest, "virtio_rng.0");
}

#[test]
fn a_driver_that_waits_for_the_period_over_vhost_user_can_be_unloaded() {
    let run = RunDir::create("vhost-user-limit").expect("a run can be made");
    let limit = Some(Limit { bytes: 64, period: 3_600_000 });
    let options = Options { limit, ..Options::default() };
    let rng = Rng::over_vhost_user(&run, "rng", &options).expect("the device can be made");
    say("booting a guest with a device that will wait");
    let mut guest = rng.attach(guest(&run)).boot().expect("the guest boots");
    for _ in 0..3 {
        guest.run("rmmod virtio_rng").expect("the driver unloads");
        guest.run("modprobe virtio-rng").expect("the driver loads");
    }
    assert_kernel_is_content(&mut guest);
}
