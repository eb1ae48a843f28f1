//! The transitional device: drivers from before virtio 1.0 find their I/O ports.

use lab::{Guest, RunDir};

use super::rng::chosen_has_no;
use super::{Options, Rng, assert_delivers, feature, guest};
use crate::{assert_kernel_is_content, say};

/// `VIRTIO_F_VERSION_1`: the driver uses the modern interface.
const VERSION_1: usize = 32;

#[test]
fn a_modern_driver_uses_the_modern_interface_of_the_transitional_device() {
    if chosen_has_no("transitional device") {
        return;
    }
    let run = RunDir::create("virtio-transitional").expect("a run can be made");
    let (_rng, mut guest) = boot(&run, "");
    assert!(feature(&mut guest, VERSION_1));
    works(&mut guest);
}

#[test]
fn a_legacy_driver_uses_the_ports_of_the_transitional_device() {
    if chosen_has_no("transitional device") {
        return;
    }
    let run = RunDir::create("virtio-legacy").expect("a run can be made");
    let (_rng, mut guest) = boot(&run, "virtio_pci.force_legacy=1");
    assert!(!feature(&mut guest, VERSION_1));
    works(&mut guest);
}

fn boot<'run>(run: &'run RunDir, words: &str) -> (Rng<'run>, Guest<'run>) {
    let options = Options { transitional: true, ..Options::default() };
    let rng = Rng::start(run, "rng", &options).expect("the device can be made");
    say("booting a guest with a transitional device");
    let guest = rng.attach(guest(run)).append(words).boot().expect("the guest boots");
    (rng, guest)
}

fn works(guest: &mut Guest) {
    let numbers = guest.run("lspci -n -s 00:02.0").expect("lspci works");
    assert_eq!(numbers.trim(), "00:02.0 00ff: 1af4:1005");
    let shown = guest.run("lspci -vv -s 00:02.0").expect("lspci works");
    assert!(shown.contains("Region 0: I/O ports at "), "{shown}");
    assert_delivers(guest, "virtio_rng.0");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=128").expect("64 KiB can be read");
    assert_kernel_is_content(guest);
}
