//! The link between QEMU and the server: memory that is shared or not, either side dying.

use std::time::{Duration, Instant};

use lab::{Guest, RunDir, Server};
use serde_json::json;

use crate::my_rng::{MyRng, Options};
use crate::server_process::{descriptors, guest_memory_maps};
use crate::{
    assert_kernel_is_content, bases, devmem, expected_lspci, load_module, lspci, say, served,
    served_removable,
};

#[test]
fn the_server_says_so_when_memory_is_not_shared() {
    let run = RunDir::create("memory").expect("a run can be made");
    let server = Server::start(&run, "my-rng", &["-v"]).expect("the server starts");
    say("booting a guest whose memory is shared");
    let mut guest =
        Guest::builder(&run).attach(&server).boot_from_saved().expect("the guest boots");
    devmem_works(&mut guest);
    assert!(!server.log().contains("share=on"), "{}", server.log());
    drop(guest);
    say("booting a guest whose memory is not shared");
    let mut guest = Guest::builder(&run)
        .private_memory()
        .attach(&server)
        .boot_from_saved()
        .expect("the guest boots");
    devmem_works(&mut guest);
    server.wait_for_log("share=on").expect("the server names QEMU's option");
}

fn devmem_works(guest: &mut Guest) {
    let base = bases(guest)[0];
    assert_ne!(devmem(guest, base), devmem(guest, base));
}

#[test]
fn a_paused_machine_without_anything_to_boot_has_the_device() {
    let run = RunDir::create("smoke").expect("a run can be made");
    let device = MyRng::start(&run, "my-rng", Options::default()).expect("the device can be made");
    let guest = Guest::builder(&run).nothing_to_boot().paused();
    let mut guest = device.attach(guest).start().expect("QEMU makes the device");
    let buses = guest.qmp().execute("query-pci", &json!({})).expect("QEMU lists its devices");
    let devices = buses[0]["devices"].as_array().expect("a bus has devices").clone();
    let ours = devices.iter().find(|device| device["qdev_id"] == "my-rng").expect("ours is there");
    assert_eq!(ours["id"]["vendor"], 0x1234);
    assert_eq!(ours["id"]["device"], 0xcafe);
    assert_eq!(ours["id"]["subsystem-vendor"], 0x1af4);
    assert_eq!(ours["id"]["subsystem"], 0x1100);
    assert_eq!(ours["class_info"]["class"], 0x00ff);
    assert_eq!(ours["regions"][0]["size"], 4096);
    assert!(!guest.qemu_log().contains("vfio"), "{}", guest.qemu_log());
}

#[test]
fn a_guest_survives_its_server_and_takes_a_new_one() {
    let run = RunDir::create("server-killed").expect("a run can be made");
    let (server, mut guest) = served_removable(&run);
    load_module(&mut guest);
    // The program waits meanwhile: QEMU 11.1 may abort when a server dies in the middle of a read.
    say("killing the server while a program in the guest has the device open");
    guest
        .run(
            "(exec 3</dev/my_rng_driver
            dd bs=64 count=1 <&3 >/dev/null 2>&1 && touch /run/reads
            while ! test -e /run/killed; do sleep 1; done
            dd bs=64 count=1 <&3 2>/run/said >/dev/null
            mv /run/said /run/ended) >/dev/null 2>&1 &",
        )
        .expect("the guest starts a reader");
    guest.run_until("test -e /run/reads").expect("it reads");
    server.kill().expect("the server can be killed");
    guest.run("touch /run/killed").expect("the guest lives on");
    let error = guest.run_until("cat /run/ended").expect("the reader notices");
    assert!(error.contains("No such device"), "the reader's error: {error:?}");
    assert!(guest.running().expect("QEMU can be asked"), "QEMU lives on");
    guest.run("uptime").expect("the guest lives on");

    say("bringing the device back");
    guest.unplug("my-rng").expect("the dead device can be unplugged");
    guest.run("! test -e /dev/my_rng_driver").expect("its character device is gone");
    let server = Server::start(&run, "my-rng", &["-v"]).expect("a new server starts");
    guest.plug(&server).expect("its device can be plugged in");
    guest.run_until("test -c /dev/my_rng_driver").expect("the module takes it");
    guest.run("head -c 64 /dev/my_rng_driver >/dev/null").expect("it gives bytes");
    assert_kernel_is_content(&mut guest);
}

#[test]
fn a_server_survives_its_guests_and_keeps_nothing_of_them() {
    let run = RunDir::create("qemu-killed").expect("a run can be made");
    let mut server = Server::start(&run, "my-rng", &["-v"]).expect("the server starts");
    let mut before = descriptors(&server).expect("countable");
    for round in 0..3 {
        say(&format!("killing QEMU, round {round}"));
        let guest = Guest::builder(&run).attach(&server);
        let mut guest = if round == 0 { guest.boot() } else { guest.nothing_to_boot().start() }
            .expect("QEMU starts");
        assert!(guest_memory_maps(&server).expect("countable") > 0, "it has the guest's memory");
        assert!(guest.running().expect("QEMU can be asked"));
        guest.kill().expect("QEMU can be killed");
        let begun = Instant::now();
        while descriptors(&server).expect("countable") > before
            || guest_memory_maps(&server).expect("countable") != 0
        {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{} descriptors, {before} before the first guest; {} maps",
                descriptors(&server).expect("countable"),
                guest_memory_maps(&server).expect("countable")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(server.running().expect("the server can be asked"));
        before = descriptors(&server).expect("countable");
    }
    let status = server.stop().expect("it ends when asked to");
    assert!(status.success(), "{status}");
    assert!(!run.path().join("my-rng.sock").exists(), "it removes its socket");
}

#[test]
fn a_second_qemu_fails_at_once_and_the_first_is_not_disturbed() {
    let run = RunDir::create("second-qemu").expect("a run can be made");
    let (server, mut guest) = served(&run);
    say("starting a second QEMU on the same socket");
    let second = Guest::builder(&run).name("second").nothing_to_boot().attach(&server).start();
    let error = second.expect_err("the device is taken");
    server.wait_for_log("rejected client").expect("the server says so");
    let said = run.read("second-qemu.log");
    assert!(said.contains("Device or resource busy"), "QEMU said {said:?}; {error:#}");
    // What it says after five seconds with a server that says nothing.
    assert!(!said.contains("timed out"), "QEMU said {said:?}; {error:#}");
    let base = bases(&mut guest)[0];
    assert_eq!(lspci(&mut guest), expected_lspci("00:02.0", &format!("{base:x}")));
}
