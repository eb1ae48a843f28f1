//! Devices that come and go while the guest runs, and guests that restart.

use lab::{Guest, RunDir};

use crate::my_rng::{GLIBC, MyRng, Options};
use crate::server_process::descriptors;
use crate::{assert_kernel_is_content, load_module, run_tester, say, usual};

#[test]
fn plugging_in_and_out_again_and_again() {
    let run = RunDir::create("hotplug").expect("a run can be made");
    let device = MyRng::start(&run, "my-rng", Options::default()).expect("the device can be made");
    say("booting a guest without a device");
    let mut guest =
        device.announce(Guest::builder(&run)).boot_from_saved().expect("the guest boots");
    guest.run("insmod my_rng.ko").expect("the module loads without a device");
    let descriptors = || device.server().map(|server| descriptors(server).expect("countable"));
    let before = descriptors();
    for round in 0..10 {
        say(&format!("round {round}"));
        device.plug(&mut guest).expect("the device can be plugged in");
        guest.run_until("test -c /dev/my_rng_driver").expect("the module takes it");
        guest.run("head -c 16 /dev/my_rng_driver >/dev/null").expect("it gives bytes");
        guest.unplug("my-rng").expect("the device can be unplugged");
        guest.run("! test -e /dev/my_rng_driver").expect("its character device is gone");
    }
    assert_kernel_is_content(&mut guest);
    if let (Some(before), Some(after)) = (before, descriptors()) {
        assert!(after <= before + 1, "{after} descriptors, {before} before");
    }
}

#[test]
fn unplugging_a_device_that_is_open() {
    let run = RunDir::create("unplug-open").expect("a run can be made");
    let device = MyRng::start(&run, "my-rng", Options::default()).expect("the device can be made");
    say("booting a guest");
    let guest = device.attach(Guest::builder(&run).removable());
    let mut guest = guest.boot_from_saved().expect("the guest boots");
    load_module(&mut guest);
    say("unplugging the device while a program has it open");
    guest
        .run(
            "(exec 3</dev/my_rng_driver
            touch /run/open
            while ! test -e /run/unplugged; do sleep 1; done
            dd bs=4 count=1 <&3 2>/run/said >/dev/null
            mv /run/said /run/ended) >/dev/null 2>&1 &",
        )
        .expect("the guest starts a program");
    guest.run_until("test -e /run/open").expect("it has the device open");
    guest.unplug("my-rng").expect("the device can be unplugged");
    guest.run("touch /run/unplugged").expect("the guest lives on");
    let said = guest.run_until("cat /run/ended").expect("it ends");
    assert!(said.contains("No such device"), "the program's read said {said:?}");
    device.plug(&mut guest).expect("the device can be plugged in again");
    guest.run_until("test -c /dev/my_rng_driver").expect("the module takes it");
    assert_kernel_is_content(&mut guest);
}

#[test]
fn resets_and_restarts() {
    let run = RunDir::create("reset").expect("a run can be made");
    let options = Options { generator: Some(GLIBC), ..Options::default() };
    let (_device, mut guest) = usual(&run, options);
    load_module(&mut guest);
    say("pressing the reset button");
    guest.reset().expect("the guest boots again");
    load_module(&mut guest);
    say("restarting from inside");
    guest.run("(sleep 1; reboot -f) >/dev/null 2>&1 &").expect("the guest restarts");
    guest.wait_until_ready().expect("the guest boots again");
    load_module(&mut guest);
    run_tester(&mut guest, "--generator glibc --only identity,ioctls,seeding");
    say("stopping and continuing");
    for command in ["stop", "cont"] {
        guest.qmp().execute(command, &serde_json::json!({})).expect("QEMU does it");
    }
    guest.run("head -c 16 /dev/my_rng_driver >/dev/null").expect("it gives bytes");
    assert_kernel_is_content(&mut guest);
}
