//! The device, seen from the guest: its identity, its registers, the numbers.

use lab::{Arch, Guest, RunDir};

use crate::my_rng::{GLIBC, MyRng, Options, left_out};
use crate::{bases, devmem, devmem_write, expected_lspci, lspci, say, usual};

/// What the C library's generator gives after seed 1.
const GLIBC_SEED_1: [u32; 5] =
    [1_804_289_383, 846_930_886, 1_681_692_777, 1_714_636_915, 1_957_747_793];

#[test]
fn lspci_shows_the_published_device_and_nothing_more() {
    let run = RunDir::create("lspci").expect("a run can be made");
    let (_device, mut guest) = usual(&run, Options::default());
    let base = bases(&mut guest)[0];
    assert_eq!(lspci(&mut guest), expected_lspci("00:02.0", &format!("{base:x}")));
}

#[test]
fn on_the_default_machine_it_is_where_the_built_in_device_would_be() {
    let run = RunDir::create("default-machine").expect("a run can be made");
    let device = MyRng::start(&run, "my-rng", Options::default()).expect("the device can be made");
    say("booting a guest on QEMU's default machine");
    let guest = Guest::builder(&run).default_devices();
    let mut guest = device.attach(guest).boot().expect("the guest boots");
    let base = bases(&mut guest)[0];
    assert_eq!(lspci(&mut guest), expected_lspci("00:04.0", &format!("{base:x}")));
    if Arch::guest() == Arch::X86_64 {
        assert_eq!(base, 0xfebf_1000, "drivers exist that have this address written in them");
    }
}

#[test]
fn devmem_reaches_both_registers_and_the_glibc_numbers_are_the_published_ones() {
    let run = RunDir::create("glibc").expect("a run can be made");
    let options = Options { generator: Some(GLIBC), seed: Some(1), every_access: true };
    let (_device, mut guest) = usual(&run, options);
    let base = bases(&mut guest)[0];
    say("reading the numbers of the device's own seed");
    let first: Vec<u32> = (0..5).map(|_| devmem(&mut guest, base)).collect();
    assert_eq!(first, GLIBC_SEED_1);
    say("seeding from the guest");
    devmem_write(&mut guest, base + 4, 1);
    assert_eq!(devmem(&mut guest, base + 4), 0, "SEED reads as 0");
    let again: Vec<u32> = (0..5).map(|_| devmem(&mut guest, base)).collect();
    assert_eq!(again, GLIBC_SEED_1);
}

#[test]
fn the_chacha20_generator_repeats_itself_after_a_seed_and_differs_from_glibc() {
    if left_out("the device inside QEMU has no other generator than glibc's") {
        return;
    }
    let run = RunDir::create("chacha20").expect("a run can be made");
    let options = Options { generator: Some("chacha20"), seed: Some(1), every_access: true };
    let (_device, mut guest) = usual(&run, options);
    let base = bases(&mut guest)[0];
    let first: Vec<u32> = (0..5).map(|_| devmem(&mut guest, base)).collect();
    devmem_write(&mut guest, base + 4, 1);
    let again: Vec<u32> = (0..5).map(|_| devmem(&mut guest, base)).collect();
    assert_eq!(first, again, "the same seed by --seed and by register");
    assert_ne!(first, GLIBC_SEED_1);
    say("resetting the guest: the generator's state is not lost");
    guest.reset().expect("the guest boots again");
    let base = bases(&mut guest)[0];
    devmem_write(&mut guest, base + 4, 1);
    assert_eq!(devmem(&mut guest, base), first[0]);
}
