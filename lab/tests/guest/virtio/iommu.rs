//! A machine with an IOMMU: the device sees addresses that the guest's kernel mapped for it.

use lab::RunDir;

use super::rng::chosen_has_no;
use super::{Options, Rng, assert_delivers, feature, guest};
use crate::{assert_kernel_is_content, left_out_beside_pcs, say};

/// `VIRTIO_F_ACCESS_PLATFORM`: the device goes through the IOMMU.
const ACCESS_PLATFORM: usize = 33;

#[test]
fn it_reaches_memory_through_a_virtual_iommu() {
    if left_out_beside_pcs("QEMU connects no vfio device to an Arm machine's IOMMU") {
        return;
    }
    if chosen_has_no("IOMMU here") {
        return;
    }
    let run = RunDir::create("virtio-iommu").expect("a run can be made");
    let options = Options { behind_iommu: true, ..Options::default() };
    let rng = Rng::start(&run, "rng", &options).expect("the device can be made");
    say("booting a guest with an IOMMU");
    // Its place is before the devices it is for.
    let with_iommu =
        guest(&run).machine("q35").arguments(&["-device", "intel-iommu,caching-mode=on"]);
    let mut guest = rng
        .attach(with_iommu)
        .append("intel_iommu=on iommu=strict")
        .boot()
        .expect("the guest boots");
    assert!(feature(&mut guest, ACCESS_PLATFORM));
    let group = guest
        .run(
            "readlink /sys/bus/virtio/devices/virtio0/../iommu_group && dmesg | grep 'DMAR: IOMMU'",
        )
        .expect("the device is in an IOMMU group");
    say(&group);
    assert_delivers(&mut guest, "virtio_rng.0");
    guest.run("dd if=/dev/hwrng of=/dev/null bs=512 count=128").expect("64 KiB can be read");
    assert_kernel_is_content(&mut guest);
}
