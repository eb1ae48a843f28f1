//! The guest's world: which packages the lab's private roots are made of, and what the lab
//! needs from them.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::Result;

use crate::kernel::{self, Kernel};
use crate::qemu::Qemu;
use crate::root::{self, Root};
use crate::{accel, lock, progress};

/// Kernels, headers, compiler and the programs that go into a guest.
///
/// Patterns, because a package's name has the kernel's exact version in it. Of the suite itself
/// and not of its security updates, so that each pattern finds few kernels. The regular
/// expressions can have no brackets, which would end the pattern.
pub const GUEST: Root = Root {
    name: "guest",
    purpose: "the guest's kernels, compiler and tools",
    size: "250 MB",
    packages: &[
        "?narrow(?codename(^trixie$),?archive(^stable$),?name(^linux-image-6\\.12\\..*-cloud-amd64$))",
        "?narrow(?codename(^trixie$),?archive(^stable$),?name(^linux-headers-6\\.12\\..*-cloud-amd64$))",
        "?narrow(?codename(^bookworm$),?not(?archive(security$)),?name(^linux-headers-6\\.1\\..*-cloud-amd64$))",
        "linux-image-cloud-amd64",
        "linux-headers-cloud-amd64",
        // What building a kernel module needs; perl is for the checks of W=1.
        "gcc,make,bash,dash,coreutils,sed,grep,mawk,findutils,perl",
        // What building a program needs, and what builds strangers' sources behind a wall.
        "libc6-dev,bubblewrap",
        // What a guest gets.
        "busybox-static,pciutils,pci.ids,kmod,kexec-tools,rng-tools5",
        // What a guest can start from instead of QEMU's BIOS.
        "ovmf",
    ],
    setup: root::SETUP,
    source: None,
    proof: &[
        "usr/bin/gcc",
        "usr/bin/make",
        "usr/bin/perl",
        "usr/include/stdio.h",
        "usr/bin/bwrap",
        "usr/bin/busybox",
        "usr/bin/lspci",
        "usr/sbin/kexec",
        "usr/bin/rngtest",
        "usr/share/misc/pci.ids",
        "usr/share/ovmf/OVMF.fd",
    ],
    check: kernel::check,
};

/// The QEMU for hosts whose own has no vfio-user-pci.
pub const QEMU: Root = Root {
    name: "qemu",
    purpose: "QEMU with vfio-user-pci",
    size: "55 MB",
    packages: &["qemu-system-x86,seabios,ipxe-qemu"],
    setup: root::SETUP,
    source: None,
    proof: &["usr/bin/qemu-system-x86_64", "usr/share/seabios/bios-256k.bin"],
    check: |_| Ok(()),
};

/// libvirt, and a QEMU for it: the programs of an administrator.
pub const LIBVIRT: Root = Root {
    name: "libvirt",
    purpose: "libvirt and QEMU",
    size: "80 MB",
    packages: &[
        "libvirt-daemon,libvirt-daemon-driver-qemu,libvirt-clients",
        "qemu-system-x86,seabios,ipxe-qemu",
        // virt-xml-validate is a shell script around xmllint.
        "libxml2-utils,dash,coreutils,sed,grep",
    ],
    setup: root::SETUP,
    source: None,
    proof: &[
        "usr/sbin/libvirtd",
        "usr/bin/virsh",
        "usr/bin/virt-xml-validate",
        "usr/bin/xmllint",
        "usr/share/libvirt/schemas/domain.rng",
        "usr/bin/qemu-system-x86_64",
    ],
    check: |_| Ok(()),
};

/// Everything that is the same for all guests of this process.
#[derive(Debug)]
pub struct World {
    /// The root with the guest's programs and the compiler.
    pub guest_root: PathBuf,
    /// The kernels in it.
    pub kernels: Vec<Kernel>,
    /// The QEMU in use.
    pub qemu: Qemu,
    /// How it runs guests.
    pub accel: accel::Accel,
}

impl World {
    /// The kernel of a choice.
    pub fn kernel(&self, choice: kernel::Choice) -> Result<&Kernel> {
        kernel::choose(&self.kernels, choice)
    }
}

/// The world, made on first use; guests in other threads wait for it.
pub fn get() -> Result<&'static World> {
    static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
    // An error is kept as text: anyhow's cannot be had twice.
    WORLD
        .get_or_init(|| prepare().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn prepare() -> Result<World> {
    let right = lock::preparing()?;
    let qemu = Qemu::find(&right)?;
    let guest_root = GUEST.ensure(&right)?;
    let kernels = kernel::list(&guest_root)?;
    let accel = accel::choose(&qemu, &guest_root, &kernels, &right)?;
    progress::say(&format!("{qemu}; {accel}"));
    Ok(World { guest_root, kernels, qemu, accel })
}
