//! The guest's world: which packages the lab's private roots are made of, and what the lab
//! needs from them.

use std::path::PathBuf;
use std::sync::OnceLock;

use anyhow::{Result, ensure};

use crate::kernel::{self, Choice, Kernel};
use crate::qemu::{self, Qemu};
use crate::root::{Root, suites};
use crate::{accel, lock, paths, progress, twin};

/// What building a kernel module needs besides the kernel's headers, whose package brings the
/// compiler: perl is for the checks of W=1, busybox for mounts.
const MODULE_TOOLS: &str =
    "make,bash,dash,coreutils,sed,grep,mawk,findutils,perl,binutils,busybox-static";
/// Debian's kernel for virtual machines, whichever version the suite has.
const KERNEL_IMAGE: &str = "linux-image-cloud-amd64";
/// The headers of that kernel.
const KERNEL_HEADERS: &str = "linux-headers-cloud-amd64";
/// Files that every root has in which modules are built.
const MODULE_PROOF: [&str; 3] = ["usr/bin/make", "usr/bin/perl", "usr/bin/busybox"];

/// The programs that go into a guest, a compiler, and the release's kernel with its headers.
pub const GUEST: Root = Root {
    name: "guest",
    purpose: "the guest's kernel, compiler and tools",
    size: "150 MB",
    suites: &[suites::RELEASE, suites::BACKPORTS, suites::TESTING],
    packages: &[
        KERNEL_IMAGE,
        KERNEL_HEADERS,
        MODULE_TOOLS,
        // What building a program needs, and the sandbox that untrusted sources are built in.
        "gcc,libc6-dev,bubblewrap",
        // What a guest gets.
        "pciutils,pci.ids,kmod,kexec-tools,rng-tools5",
        // What a guest can start from instead of QEMU's BIOS.
        "ovmf",
    ],
    source: None,
    proof: &[
        MODULE_PROOF[0],
        MODULE_PROOF[1],
        MODULE_PROOF[2],
        "usr/bin/gcc",
        "usr/include/stdio.h",
        "usr/bin/bwrap",
        "usr/bin/lspci",
        "usr/sbin/kexec",
        "usr/bin/rngtest",
        "usr/share/misc/pci.ids",
        "usr/share/ovmf/OVMF.fd",
    ],
    check: kernel::check_bootable,
};

/// A kernel that is newer than the release's, with what building modules for it needs.
pub const NEWEST_KERNEL: Root = Root {
    name: "kernel-newest",
    purpose: "the newest kernel and its compiler",
    size: "150 MB",
    suites: &[suites::BACKPORTS, suites::TESTING],
    packages: &[KERNEL_IMAGE, KERNEL_HEADERS, MODULE_TOOLS],
    source: None,
    proof: &MODULE_PROOF,
    check: kernel::check_newer,
};

/// The headers of the release before, to build modules against.
pub const PREVIOUS_HEADERS: Root = Root {
    name: "kernel-previous",
    purpose: "the headers of the previous release's kernel and its compiler",
    size: "110 MB",
    suites: &[suites::PREVIOUS],
    packages: &[KERNEL_HEADERS, MODULE_TOOLS],
    source: None,
    proof: &MODULE_PROOF,
    check: kernel::check_any,
};

/// The QEMU for hosts whose own has no vfio-user-pci.
pub const QEMU: Root = Root {
    name: "qemu",
    purpose: "QEMU with vfio-user-pci",
    size: "55 MB",
    suites: &[suites::BACKPORTS, suites::RELEASE, suites::TESTING],
    packages: &["qemu-system-x86,seabios,ipxe-qemu"],
    source: None,
    proof: &["usr/bin/qemu-system-x86_64", "usr/share/seabios/bios-256k.bin"],
    check: qemu::check,
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
    suites: &[suites::BACKPORTS, suites::TESTING],
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
    /// The root with the guest's programs and a compiler.
    pub guest_root: PathBuf,
    /// The kernel in it.
    release: Kernel,
    /// The QEMU in use.
    pub qemu: Qemu,
    /// How it runs guests.
    pub accel: accel::Accel,
}

impl World {
    /// The kernel of a choice; another one that boots, after saying so, when the archive does not
    /// have it.
    pub fn kernel(&self, choice: Choice) -> &Kernel {
        match self.exact_kernel(choice) {
            Ok(kernel) => kernel,
            Err(error) => {
                let instead = &self.release.release;
                progress::say(&format!("no kernel {choice}, going on with {instead}: {error:#}"));
                &self.release
            }
        }
    }

    /// The kernel of a choice, for what no other kernel can show.
    pub fn exact_kernel(&self, choice: Choice) -> Result<&Kernel> {
        match choice {
            Choice::V6_12 => {
                ensure!(
                    kernel::version(&self.release.release).starts_with(&[6, 12]),
                    "Debian's release has {}",
                    self.release.release
                );
                Ok(&self.release)
            }
            Choice::Newest => newest_kernel(),
        }
    }

    /// All kernels that modules can be built for, each with its name or why it is missing.
    pub fn kernels(&self) -> [(&'static str, Result<&Kernel>); 3] {
        [
            ("of the release", Ok(&self.release)),
            ("newest", newest_kernel()),
            ("of the previous release", previous_headers()),
        ]
    }
}

/// The world, made on first use; guests in other threads wait for it.
pub fn get() -> Result<&'static World> {
    static WORLD: OnceLock<Result<World, String>> = OnceLock::new();
    once(&WORLD, prepare)
}

fn newest_kernel() -> Result<&'static Kernel> {
    static KERNEL: OnceLock<Result<Kernel, String>> = OnceLock::new();
    once(&KERNEL, || kernel::newest(&NEWEST_KERNEL.ensure(&lock::preparing()?)?))
}

fn previous_headers() -> Result<&'static Kernel> {
    static KERNEL: OnceLock<Result<Kernel, String>> = OnceLock::new();
    once(&KERNEL, || kernel::newest(&PREVIOUS_HEADERS.ensure(&lock::preparing()?)?))
}

/// What was made before, or is made now. An error is kept as text: anyhow's cannot be had twice.
fn once<T>(cell: &OnceLock<Result<T, String>>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn prepare() -> Result<World> {
    let right = lock::preparing()?;
    let qemu = Qemu::find(&right)?;
    let guest_root = GUEST.ensure(&right)?;
    let release = kernel::bootable(&guest_root)?;
    let accel = accel::choose(&qemu, &guest_root, &release, &right)?;
    progress::say(&format!("{qemu}; {accel}"));
    Ok(World { guest_root, release, qemu, accel })
}

/// Makes the roots anew that this lab uses, each beside the old one; an old one stays when the new
/// one does not come.
pub fn update() -> Result<()> {
    let right = lock::preparing()?;
    ensure!(
        paths::packages() == paths::lab(),
        "{} belongs to another user, who has to update it",
        paths::packages().display()
    );
    GUEST.make(&right)?;
    if QEMU.ready() || Qemu::present()?.is_none() {
        QEMU.make(&right)?;
    }
    let others = [NEWEST_KERNEL, PREVIOUS_HEADERS, LIBVIRT, twin::TOOLS];
    others.iter().filter(|root| root.ready()).try_for_each(|root| root.make(&right))
}
