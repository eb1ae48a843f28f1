//! Several devices in one guest.

use lab::{Guest, RunDir};

use crate::my_rng::{GLIBC, MyRng, Options};
use crate::{assert_kernel_is_content, bases, devmem, devmem_write, load_module, say};

#[test]
fn two_devices_in_one_guest_have_numbers_of_their_own() {
    let run = RunDir::create("two-devices").expect("a run can be made");
    let options = Options { generator: Some(GLIBC), ..Options::default() };
    let [first, second] =
        ["first", "second"].map(|name| MyRng::start(&run, name, options).expect("it can be made"));
    say("booting a guest with two devices");
    let guest = second.attach(first.attach(Guest::builder(&run).removable()));
    let mut guest = guest.boot_from_saved().expect("the guest boots");
    let bases = bases(&mut guest);
    assert_eq!(bases.len(), 2);
    devmem_write(&mut guest, bases[0] + 4, 1);
    devmem_write(&mut guest, bases[1] + 4, 1);
    let one = devmem(&mut guest, bases[0]);
    let other = devmem(&mut guest, bases[1]);
    assert_eq!((one, other), (1_804_289_383, 1_804_289_383), "each starts its own sequence");
    assert_eq!(devmem(&mut guest, bases[0]), 846_930_886, "the other's reads are not missing");

    load_module(&mut guest);
    guest.run_until("test -c /dev/my_rng_driver1").expect("the second has a number");
    for device in ["my_rng_driver", "my_rng_driver1"] {
        guest.run(&format!("head -c 64 /dev/{device} >/dev/null")).expect("it gives bytes");
    }
    say("unplugging the first");
    guest.unplug("first").expect("it can be unplugged");
    guest.run("head -c 64 /dev/my_rng_driver1 >/dev/null").expect("the second works on");
    assert_kernel_is_content(&mut guest);
}
