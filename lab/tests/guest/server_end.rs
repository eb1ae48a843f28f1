//! What a guest and its QEMU survive when the server ends, row by row as the README has it.

use lab::{Arch, Guest, RunDir, Server};

use crate::{assert_kernel_is_content, load_module, say};

/// A device that can be unplugged: QEMU 11.1 ends when one with MSI-X is.
const VIRTIO_RNG: &[&str] = &["--device", "virtio-rng", "--vectors", "0"];

/// A server, and a guest with its virtio-rng.
fn virtio_rng(run: &RunDir) -> (Server<'_>, Guest<'_>) {
    let server = Server::start(run, "rng", VIRTIO_RNG).expect("the server starts");
    say("booting a guest with a virtio-rng");
    let guest = Guest::builder(run).without_driver().removable().attach(&server);
    (server, guest.boot_from_saved().expect("the guest boots"))
}

/// Ends the server as its service manager does. Its log has to say what that means.
fn end(run: &RunDir, server: Server<'_>) {
    say("ending the server");
    let name = server.name().to_owned();
    assert!(server.stop().expect("it ends").success());
    let log = run.read(&format!("{name}.log"));
    assert!(log.contains("ending with 1 connected"), "{log}");
}

fn hwrng_gives_bytes(guest: &mut Guest) {
    guest
        .run_until("grep -q virtio_rng /sys/class/misc/hw_random/rng_current")
        .expect("the driver has the device");
    let read = guest.run("dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c");
    assert_eq!(read.expect("it gives bytes").trim(), "64");
}

#[test]
fn a_my_rng_is_exchanged_after_the_server_has_ended() {
    let run = RunDir::create("server-end-my-rng").expect("a run can be made");
    let (server, mut guest) = crate::served_removable(&run);
    load_module(&mut guest);
    end(&run, server);
    let server = Server::start(&run, "my-rng", &[]).expect("the server starts again");
    guest.unplug("my-rng").expect("the dead device can be unplugged");
    guest.plug(&server).expect("the new one can be plugged in");
    guest.run_until("test -c /dev/my_rng_driver").expect("the module takes it");
    guest.run("head -c 16 /dev/my_rng_driver >/dev/null").expect("it gives bytes");
    assert_kernel_is_content(&mut guest);
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
    load_module(&mut guest);
}

#[test]
fn a_virtio_rng_is_exchanged_when_its_driver_was_unloaded_before() {
    let run = RunDir::create("server-end-unloaded").expect("a run can be made");
    let (server, mut guest) = virtio_rng(&run);
    hwrng_gives_bytes(&mut guest);
    guest.run("rmmod virtio_rng").expect("the driver is unloaded");
    end(&run, server);
    let server = Server::start(&run, "rng", VIRTIO_RNG).expect("the server starts again");
    guest.unplug("rng").expect("the dead device can be unplugged");
    guest.plug(&server).expect("the new one can be plugged in");
    guest.run("modprobe virtio_rng").expect("the driver loads");
    hwrng_gives_bytes(&mut guest);
    assert_kernel_is_content(&mut guest);
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
    hwrng_gives_bytes(&mut guest);
}

#[test]
fn a_virtio_rng_that_was_detached_before_comes_back() {
    let run = RunDir::create("server-end-detached").expect("a run can be made");
    let (server, mut guest) = virtio_rng(&run);
    guest.unplug("rng").expect("the device can be unplugged");
    assert!(server.stop().expect("it ends").success());
    let server = Server::start(&run, "rng", VIRTIO_RNG).expect("the server starts again");
    guest.plug(&server).expect("it can be plugged in");
    hwrng_gives_bytes(&mut guest);
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
    hwrng_gives_bytes(&mut guest);
}

#[test]
fn a_reset_after_the_servers_end_ends_the_qemu_of_a_pc_and_no_other() {
    let run = RunDir::create("server-end-reset").expect("a run can be made");
    let (server, mut guest) = crate::served(&run);
    end(&run, server);
    let reset = guest.reset();
    if Arch::guest() != Arch::X86_64 {
        // A PC's memory is mapped anew when it is reset, which needs the server.
        return reset.expect("the guest boots again");
    }
    reset.expect_err("QEMU does not survive it; say so no more in the README if it does");
    guest.wait_for_end().expect("QEMU has ended");
    let said = guest.qemu_log();
    assert!(said.contains("DMA mapping failed"), "QEMU said {said:?}");
}
