//! Linux's own driver at work, on machines that differ.

use lab::guest::Builder;
use lab::{Guest, RunDir};

use super::rng::chosen_has_no;
use super::{
    Options, Rng, assert_delivers, assert_reader_goes_on, feature, guest, hwrng, interrupts,
    start_reader, usual,
};
use crate::{assert_kernel_is_content, say};

#[test]
fn linux_drives_it_in_shared_memory() {
    let run = RunDir::create("virtio-shared").expect("a run can be made");
    let rng = it_works(&run, |guest| guest);
    if let Some(server) = rng.server() {
        assert!(!server.log().contains("share=on"), "{}", server.log());
    }
}

#[test]
fn linux_drives_it_in_memory_that_the_server_cannot_map() {
    if chosen_has_no("memory that is not shared") {
        return;
    }
    let run = RunDir::create("virtio-private").expect("a run can be made");
    let rng = it_works(&run, Builder::private_memory);
    if let Some(server) = rng.server() {
        server.wait_for_log("share=on").expect("the server names QEMU's option");
    }
}

fn it_works<'run>(
    run: &'run RunDir,
    change: impl FnOnce(Builder<'run>) -> Builder<'run>,
) -> Rng<'run> {
    let rng = Rng::start(run, "rng", &Options::default()).expect("the device can be made");
    say("booting a guest with a virtio-rng");
    let mut guest = change(rng.attach(guest(run))).boot_from_saved().expect("the guest boots");
    assert_eq!(hwrng(&mut guest, "rng_available"), "virtio_rng.0 none");
    let before = interrupts(&mut guest, "virtio0-input");
    assert_delivers(&mut guest, "virtio_rng.0");
    let after = interrupts(&mut guest, "virtio0-input");
    assert!(after > before, "{before} interrupts of the queue, then {after}");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=128").expect("64 KiB can be read");
    assert_kernel_is_content(&mut guest);
    rng
}

#[test]
fn linux_takes_a_packed_queue_when_it_is_offered() {
    if chosen_has_no("packed queue here") {
        return;
    }
    /// `VIRTIO_F_RING_PACKED`.
    const RING_PACKED: usize = 34;
    let run = RunDir::create("virtio-packed").expect("a run can be made");
    let options = Options { packed: true, ..Options::default() };
    let (_rng, mut guest) = usual(&run, &options);
    assert!(feature(&mut guest, RING_PACKED));
    assert_delivers(&mut guest, "virtio_rng.0");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=128").expect("64 KiB can be read");
    reload(&mut guest);
    assert_kernel_is_content(&mut guest);
}

#[test]
fn four_readers_on_four_processors_each_get_bytes_of_their_own() {
    let run = RunDir::create("virtio-readers").expect("a run can be made");
    let rng = Rng::start(&run, "rng", &Options::default()).expect("the device can be made");
    say("booting a guest with four processors");
    let mut guest = rng.attach(guest(&run)).processors(4).boot().expect("the guest boots");
    assert_eq!(guest.run("nproc").expect("it says how many").trim(), "4");
    let said = guest
        .run(
            "for reader in 1 2 3 4; do
                dd if=/dev/hwrng of=/run/read-$reader bs=512 count=64 2>/dev/null &
            done
            wait
            cat /run/read-? | wc -c
            cat /run/read-? | xxd -p -c 32 | sort -u | wc -l",
        )
        .expect("all of them end");
    assert_eq!(said, "131072\n4096\n", "bytes, and blocks of 32 that differ");
    assert_delivers(&mut guest, "virtio_rng.0");
    assert_kernel_is_content(&mut guest);
}

#[test]
fn without_msi_it_interrupts_by_its_pin() {
    let run = RunDir::create("virtio-nomsi").expect("a run can be made");
    let rng = Rng::start(&run, "rng", &Options::default()).expect("the device can be made");
    say("booting a guest that does not use MSI");
    let mut guest = rng.attach(guest(&run)).append("pci=nomsi").boot().expect("the guest boots");
    let before = interrupts(&mut guest, "virtio0");
    assert_delivers(&mut guest, "virtio_rng.0");
    let after = interrupts(&mut guest, "virtio0");
    assert!(after > before, "{before} interrupts, then {after}");
    let table = guest.run("cat /proc/interrupts").expect("readable");
    let line = table.lines().find(|line| line.ends_with("virtio0")).expect("the device has one");
    // As a PC's and an Arm machine's interrupt controllers name it.
    let pin = ["fasteoi", "Level"].iter().any(|kind| line.contains(kind));
    assert!(pin && !line.contains("MSI"), "{table}");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=128").expect("64 KiB can be read");
    assert_kernel_is_content(&mut guest);
}

#[test]
fn its_driver_comes_and_goes_with_and_without_a_reader() {
    let run = RunDir::create("virtio-reload").expect("a run can be made");
    let (_rng, mut guest) = usual(&run, &Options::default());
    reload(&mut guest);
    say("again, with a reader in the background");
    start_reader(&mut guest);
    reload(&mut guest);
    assert_reader_goes_on(&mut guest);
    assert_kernel_is_content(&mut guest);
}

fn reload(guest: &mut Guest) {
    for _ in 0..10 {
        guest.run("rmmod virtio_rng").expect("the driver unloads");
        assert_eq!(hwrng(guest, "rng_available"), "none");
        guest.run("modprobe virtio-rng").expect("the driver loads");
        assert_delivers(guest, "virtio_rng.0");
    }
}
