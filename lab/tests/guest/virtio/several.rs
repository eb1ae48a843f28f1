//! Two devices in one guest, with bytes that tell them apart.

use lab::{Guest, RunDir};

use super::rng::{Source, stream};
use super::{BLOCK, Options, Rng, assert_delivers, guest, hwrng, read, select};
use crate::my_rng::{self, GLIBC, MyRng};
use crate::{assert_kernel_is_content, bases, devmem, devmem_write, say};

/// Where the guest's bytes are looked for: its kernel has read some before, not this many.
const SEARCHED: usize = 1 << 18;

#[test]
fn the_bytes_come_from_the_device_that_was_selected() {
    let run = RunDir::create("virtio-two").expect("a run can be made");
    let seeded = |seed| Options { source: Source::Stream(seed), ..Options::default() };
    let first = Rng::start(&run, "first", &seeded(1)).expect("the device can be made");
    let second = Rng::start(&run, "second", &seeded(2)).expect("the device can be made");
    say("booting a guest with two devices");
    let mut guest =
        second.attach(first.attach(guest(&run))).boot_from_saved().expect("the guest boots");
    assert_eq!(hwrng(&mut guest, "rng_available"), "virtio_rng.0 virtio_rng.1 none");
    for (name, seed) in [("virtio_rng.0", 1), ("virtio_rng.1", 2), ("virtio_rng.0", 1)] {
        select(&mut guest, name);
        assert_eq!(hwrng(&mut guest, "rng_current"), name);
        assert_of_stream(&mut guest, seed);
    }
    assert_kernel_is_content(&mut guest);
}

/// Checks that what the guest reads is of a stream, and in its order.
fn assert_of_stream(guest: &mut Guest, seed: u32) {
    let stream = stream(seed, SEARCHED);
    let bytes = read(guest, 4 * BLOCK);
    // The guest's kernel may take bytes for itself at any time, so blocks have their own places.
    let places: Vec<usize> = bytes
        .chunks(BLOCK)
        .map(|block| {
            let place = stream.windows(BLOCK).position(|piece| piece == block);
            place.unwrap_or_else(|| panic!("{block:02x?} is not of the stream of seed {seed}"))
        })
        .collect();
    say(&format!("the blocks are at {places:?} in the stream of seed {seed}"));
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn my_rng_and_virtio_rng_work_in_one_guest() {
    let run = RunDir::create("both-devices").expect("a run can be made");
    let options = my_rng::Options { generator: Some(GLIBC), ..Default::default() };
    let device = MyRng::start(&run, "my-rng", options).expect("it can be made");
    let rng = Rng::start(&run, "rng", &Options::default()).expect("it can be made");
    say("booting a guest with both devices");
    let guest = Guest::builder(&run).without_driver();
    let mut guest = rng.attach(device.attach(guest)).boot().expect("the guest boots");
    let base = bases(&mut guest)[0];
    devmem_write(&mut guest, base + 4, 1);
    let numbers = [devmem(&mut guest, base), devmem(&mut guest, base)];
    assert_eq!(numbers, [1_804_289_383, 846_930_886], "those of seed 1");
    assert_delivers(&mut guest, "virtio_rng.0");
    assert_kernel_is_content(&mut guest);
}
