//! Guest memory with a descriptor in which the guest's writes do not show: QEMU's `share=off`, which
//! is what `memory-backend-file` does if it is not told.

use std::fs;

use lab::guest::Builder;
use lab::{Arch, Guest, RunDir, Server};

use crate::virtio::{self, Options, Rng};
use crate::{assert_kernel_is_content, edu, left_out_beside_pcs, say};

/// What the servers log when they drop mappings.
const NOT_SHARED: &str = "is not shared";
/// 256 MiB in pages of 2 MiB.
const GUEST_HUGE_PAGES: u64 = 128;

#[test]
fn devices_work_in_a_memory_file_that_qemu_has_mapped_privately() {
    work_in("private-file", "memory-backend-file,id=ram,size=256M,mem-path=ram");
}

#[test]
fn devices_work_in_a_memfd_that_qemu_has_mapped_privately() {
    work_in("private-memfd", "memory-backend-memfd,id=ram,size=256M,share=off");
}

#[test]
fn devices_work_in_private_memory_behind_an_iommu() {
    if left_out_beside_pcs("QEMU connects no vfio device to an Arm machine's IOMMU") {
        return;
    }
    let run = RunDir::create("private-iommu").expect("a run can be made");
    let guest = Guest::builder(&run).machine("q35");
    let guest = guest.arguments(&["-device", "intel-iommu,caching-mode=on"]);
    let guest = guest.append("intel_iommu=on iommu=strict");
    work(&run, guest, "memory-backend-file,id=ram,size=256M,mem-path=ram", NOT_SHARED);
}

/// QEMU announces no ROM for a device that is plugged in while the IOMMU is on.
#[test]
fn device_plugged_into_private_memory_behind_an_iommu_works() {
    if left_out_beside_pcs("QEMU connects no vfio device to an Arm machine's IOMMU") {
        return;
    }
    let run = RunDir::create("private-plugged").expect("a run can be made");
    let rng = Rng::of_our_server(&run, "rng", &Options::default()).expect("the device can be made");
    let server = rng.server().expect("it is our server's");
    let memory = "memory-backend-file,id=ram,size=256M,mem-path=ram";
    let guest = Guest::builder(&run).machine("q35").without_driver().private_memory();
    let guest = guest.arguments(&["-object", memory, "-machine", "memory-backend=ram"]);
    let guest = guest.arguments(&["-device", "intel-iommu,caching-mode=on"]);
    let guest = guest.arguments(&["-device", "pcie-root-port,id=slot0,chassis=1"]);
    say("booting a guest without a device");
    let guest = guest.append("intel_iommu=on iommu=strict").boot();
    let mut guest = guest.expect("the guest boots");
    let mut device = server.device();
    device["bus"] = "slot0".into();
    guest.qmp().execute("device_add", &device).expect("the device can be plugged in");
    guest.run_until("test -e /sys/bus/virtio/drivers/virtio_rng/virtio*").expect("it is driven");
    assert_rng_works(&mut guest);
    assert_kernel_is_content(&mut guest);
    server.wait_for_log(NOT_SHARED).expect("the log says why it is slow");
    assert_nothing_is_mapped(server);
}

/// QEMU's private mapping and the server's shared one each take as many huge pages as the guest has
/// memory. With fewer, the server cannot map most of the memory, and reaches that by messages at once.
#[test]
fn devices_work_in_private_huge_pages() {
    let pool = fs::read_to_string("/proc/meminfo").expect("readable");
    let free = |name: &str| {
        let line = pool.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    let is_2_mib = free("Hugepagesize:") == Some(2048);
    let free = free("HugePages_Free:").filter(|_| is_2_mib).unwrap_or(0);
    if free < GUEST_HUGE_PAGES {
        say("skipped: the system has no huge pages for a guest (vm.nr_hugepages)");
        return;
    }
    let message = if free >= 2 * GUEST_HUGE_PAGES { NOT_SHARED } else { "cannot be mapped" };
    let run = RunDir::create("private-huge").expect("a run can be made");
    let memory = "memory-backend-memfd,id=ram,size=256M,hugetlb=on,hugetlbsize=2M,share=off";
    work(&run, Guest::builder(&run), memory, message);
}

fn work_in(name: &str, memory: &str) {
    let run = RunDir::create(name).expect("a run can be made");
    work(&run, Guest::builder(&run), memory, NOT_SHARED);
}

fn work<'run>(run: &'run RunDir, guest: Builder<'run>, memory: &str, message: &str) {
    let rng = Rng::of_our_server(run, "rng", &Options::default()).expect("the device can be made");
    let example = edu::start_example(run);
    say("booting a guest with a virtio-rng and the example");
    let guest = guest.without_driver().private_memory();
    let guest = guest.arguments(&["-object", memory, "-machine", "memory-backend=ram"]);
    let mut guest = rng.attach(guest).attach(&example).boot().expect("the guest boots");
    assert_rng_works(&mut guest);
    edu::assert_example_works(&mut guest);
    assert_kernel_is_content(&mut guest);
    let mut servers = vec![rng.server().expect("it is our server's")];
    // All memory of an arm64 guest lies above the addresses that the example knows.
    if Arch::guest() == Arch::X86_64 {
        servers.push(&example);
    }
    for server in servers {
        server.wait_for_log(message).expect("the log says why it is slow");
        if message == NOT_SHARED {
            assert_nothing_is_mapped(server);
        }
    }
}

fn assert_rng_works(guest: &mut Guest) {
    virtio::assert_delivers(guest, "virtio_rng.0");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=16").expect("8 KiB can be read");
}

/// The server has nothing of the guest's memory mapped.
fn assert_nothing_is_mapped(server: &Server) {
    let maps = format!("/proc/{}/maps", server.pid());
    let maps = fs::read_to_string(maps).expect("readable");
    let mapped = maps.lines().find(|line| line.contains("/ram") || line.contains("memfd:"));
    assert_eq!(mapped, None, "the mapping is of no use");
}
