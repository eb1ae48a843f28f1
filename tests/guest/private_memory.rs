//! Guest memory with a descriptor in which the guest's writes do not show: QEMU's `share=off`, which
//! is what `memory-backend-file` does if it is not told.

use lab::{Guest, RunDir};

use crate::virtio::{self, Options, Rng};
use crate::{assert_kernel_is_content, edu, say};

#[test]
fn devices_work_in_a_memory_file_that_qemu_has_mapped_privately() {
    work_in("private-file", "memory-backend-file,id=ram,size=256M,mem-path=ram");
}

#[test]
fn devices_work_in_a_memfd_that_qemu_has_mapped_privately() {
    work_in("private-memfd", "memory-backend-memfd,id=ram,size=256M,share=off");
}

fn work_in(name: &str, memory: &str) {
    let run = RunDir::create(name).expect("a run can be made");
    let rng = Rng::of_our_server(&run, "rng", &Options::default()).expect("the device can be made");
    let example = edu::start_example(&run);
    say("booting a guest with a virtio-rng and the example");
    let guest = Guest::builder(&run).without_driver().private_memory();
    let guest = guest.arguments(&["-object", memory, "-machine", "memory-backend=ram"]);
    let mut guest = rng.attach(guest).attach(&example).boot().expect("the guest boots");
    virtio::assert_delivers(&mut guest, "virtio_rng.0");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=16").expect("8 KiB can be read");
    edu::assert_example_works(&mut guest);
    assert_kernel_is_content(&mut guest);
    for server in [rng.server().expect("it is our server's"), &example] {
        server.wait_for_log("is not shared").expect("the log says why it is slow");
        let maps = format!("/proc/{}/maps", server.pid());
        let maps = std::fs::read_to_string(maps).expect("readable");
        let mapped = maps.lines().find(|line| line.contains("/ram") || line.contains("memfd:"));
        assert_eq!(mapped, None, "the mapping is of no use");
    }
}
