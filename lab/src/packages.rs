//! Which Debian packages the lab's private roots are made of.
//!
//! For guests of the host's own architecture one root has the programs of the guest, its kernel and
//! a compiler. For guests of another one there are two: [`guest`] with programs that only the guest
//! can run, and [`build`] with a cross compiler that the host can run, and the kernel.

use std::path::PathBuf;
use std::process::Command;

use crate::arch::Arch;
use crate::root::{self, Root, suites};
use crate::{kernel, qemu};

/// The private roots that guests are made of.
#[derive(Debug, Clone)]
pub struct Roots {
    /// The guests' architecture.
    pub arch: Arch,
    /// The root with the guest's programs.
    pub guest: PathBuf,
    /// The root with a compiler and other programs that this system can run: the same one if the
    /// guest is of this system's architecture.
    pub build: PathBuf,
}

impl Roots {
    /// A command that runs a program of the build root with that root's libraries, whatever this
    /// system's are.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        root::command(&self.build, &self.build.join(program))
    }
}

/// What building a kernel module needs besides the kernel's headers, whose package brings the
/// compiler: perl is for the checks of W=1, busybox for mounts.
const MODULE_TOOLS: &str =
    "make,bash,dash,coreutils,sed,grep,mawk,findutils,perl,binutils,busybox-static";
/// Files that every root has in which modules are built.
const MODULE_PROOF: [&str; 3] = ["usr/bin/make", "usr/bin/perl", "usr/bin/busybox"];
/// What a guest gets.
const GUEST_TOOLS: &str = "pciutils,pci.ids,kmod,kexec-tools,rng-tools5";
const GUEST_PROOF: [&str; 4] =
    ["usr/bin/lspci", "usr/sbin/kexec", "usr/bin/rngtest", "usr/share/misc/pci.ids"];
/// What compiling a program of this workspace needs.
const RUST: &str = "cargo,rustc,gcc,libc6-dev";

/// Debian's kernel for virtual machines, whichever version the suite has.
fn kernel_image(arch: Arch) -> String {
    format!("linux-image-cloud-{}", arch.debian())
}

/// The headers of that kernel.
fn kernel_headers(arch: Arch) -> String {
    format!("linux-headers-cloud-{}", arch.debian())
}

/// A package of another architecture.
fn foreign(arch: Arch, package: &str) -> String {
    format!("{package}:{}", arch.debian())
}

/// The C compiler and the C library with which the host builds for another architecture.
fn cross_compiler(arch: Arch) -> String {
    let compiler = arch.triple().replace('_', "-");
    format!("gcc-{compiler},libc6-dev-{}-cross", arch.debian())
}

/// The name of a root, which those for guests like the host have from before there were others.
fn name(name: &str, arch: Arch) -> String {
    if arch.is_foreign() { format!("{name}-{arch}") } else { name.to_owned() }
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|entry| (*entry).to_owned()).collect()
}

/// The UEFI firmware that a guest can start from instead of the machine's usual one, and its file.
pub fn uefi(arch: Arch) -> (&'static str, &'static str) {
    match arch {
        Arch::X86_64 => ("ovmf", "usr/share/ovmf/OVMF.fd"),
        Arch::Arm64 => ("qemu-efi-aarch64", "usr/share/qemu-efi-aarch64/QEMU_EFI.fd"),
    }
}

/// The programs that go into a guest. If the host can run them, also a compiler, and the release's
/// kernel with its headers.
pub fn guest(arch: Arch) -> Root {
    let root = Root {
        name: name("guest", arch),
        arch,
        suites: &[suites::RELEASE, suites::BACKPORTS, suites::TESTING],
        ..Root::default()
    };
    let (uefi, uefi_file) = uefi(arch);
    if arch.is_foreign() {
        return Root {
            purpose: "the guest's tools",
            size: "20 MB",
            architectures: vec![arch.debian()],
            packages: strings(&["busybox-static", GUEST_TOOLS, uefi]),
            proof: strings(&[&["usr/bin/busybox", uefi_file], &GUEST_PROOF[..]].concat()),
            ..root
        };
    }
    let build = ["usr/bin/gcc", "usr/include/stdio.h", "usr/bin/bwrap"];
    let proof = [&MODULE_PROOF[..], &build, &GUEST_PROOF, &[uefi_file]].concat();
    Root {
        purpose: "the guest's kernel, compiler and tools",
        size: "150 MB",
        packages: vec![
            kernel_image(arch),
            kernel_headers(arch),
            MODULE_TOOLS.to_owned(),
            // What building a program needs, and the sandbox that untrusted sources are built in.
            "gcc,libc6-dev,bubblewrap".to_owned(),
            GUEST_TOOLS.to_owned(),
            uefi.to_owned(),
        ],
        proof: strings(&proof),
        check: |root, _| kernel::check_bootable(root),
        ..root
    }
}

/// What the host runs to build for a guest, and the guest's kernel: the same root as [`guest`] if
/// the host can run that.
pub fn build(arch: Arch) -> Root {
    if !arch.is_foreign() {
        return guest(arch);
    }
    let root = cross(arch);
    let gcc = format!("usr/bin/{}", arch.tool("gcc"));
    let library = format!("usr/lib/rustlib/{}/lib", arch.rust_target());
    let mut proof = root.proof;
    proof.extend([gcc, library]);
    proof.extend(strings(&["usr/bin/bwrap", "usr/sbin/depmod", "usr/bin/cargo"]));
    Root {
        name: format!("cross-{arch}"),
        purpose: "the guest's kernel and cross compilers",
        size: "250 MB",
        suites: &[suites::RELEASE, suites::BACKPORTS, suites::TESTING],
        packages: [root.packages, strings(&["bubblewrap,kmod", RUST])].concat(),
        unpacked: [root.unpacked, vec![foreign(arch, "libstd-rust-dev")]].concat(),
        proof,
        check: |root, _| kernel::check_bootable(root),
        ..root
    }
}

/// A kernel of another architecture, with what building modules for it needs.
fn cross(arch: Arch) -> Root {
    Root {
        arch,
        architectures: vec![Arch::host().debian(), arch.debian()],
        packages: vec![
            foreign(arch, &kernel_image(arch)),
            MODULE_TOOLS.to_owned(),
            // What the kernel's own helpers call, which are unpacked as well.
            "pahole".to_owned(),
            cross_compiler(arch),
        ],
        // With what it depends on, the compiler would come that runs on that architecture.
        unpacked: vec![foreign(arch, &kernel_headers(arch))],
        proof: strings(&MODULE_PROOF),
        ..Root::default()
    }
}

/// What building modules for a kernel needs: these packages of the kernel with a compiler, or all of a
/// kernel of another architecture.
fn for_modules(arch: Arch, kernel: &[String]) -> Root {
    if arch.is_foreign() {
        return cross(arch);
    }
    Root {
        arch,
        packages: [kernel, &[MODULE_TOOLS.to_owned()]].concat(),
        proof: strings(&MODULE_PROOF),
        ..Root::default()
    }
}

/// A kernel that is newer than the release's, with what building modules for it needs.
pub fn newest_kernel(arch: Arch) -> Root {
    Root {
        name: name("kernel-newest", arch),
        purpose: "the newest kernel and its compiler",
        size: "150 MB",
        suites: &[suites::BACKPORTS, suites::TESTING],
        check: |root, _| kernel::check_newer(root),
        ..for_modules(arch, &[kernel_image(arch), kernel_headers(arch)])
    }
}

/// The headers of the release before, to build modules against.
pub fn previous_headers(arch: Arch) -> Root {
    Root {
        name: name("kernel-previous", arch),
        purpose: "the headers of the previous release's kernel and its compiler",
        size: "110 MB",
        suites: &[suites::PREVIOUS],
        check: |root, _| kernel::newest(root).map(drop),
        ..for_modules(arch, &[kernel_headers(arch)])
    }
}

/// The QEMU for hosts whose own has no vfio-user-pci.
pub fn qemu(arch: Arch) -> Root {
    let (packages, firmware) = match arch {
        Arch::X86_64 => ("qemu-system-x86,seabios,ipxe-qemu", "usr/share/seabios/bios-256k.bin"),
        Arch::Arm64 => ("qemu-system-arm,ipxe-qemu", "usr/share/qemu/efi-virtio.rom"),
    };
    Root {
        name: name("qemu", arch),
        purpose: "QEMU with vfio-user-pci",
        size: "55 MB",
        arch,
        suites: &[suites::BACKPORTS, suites::RELEASE, suites::TESTING],
        packages: strings(&[packages]),
        proof: vec![format!("usr/bin/{}", arch.qemu()), firmware.to_owned()],
        check: qemu::check,
        ..Root::default()
    }
}

/// libvirt, and a QEMU for it: the programs of an administrator.
pub fn libvirt() -> Root {
    Root {
        name: "libvirt".to_owned(),
        purpose: "libvirt and QEMU",
        size: "80 MB",
        packages: strings(&[
            "libvirt-daemon,libvirt-daemon-driver-qemu,libvirt-clients",
            "qemu-system-x86,seabios,ipxe-qemu",
            // virt-xml-validate is a shell script around xmllint.
            "libxml2-utils,dash,coreutils,sed,grep",
        ]),
        suites: &[suites::BACKPORTS, suites::TESTING],
        proof: strings(&[
            "usr/sbin/libvirtd",
            "usr/bin/virsh",
            "usr/bin/virt-xml-validate",
            "usr/bin/xmllint",
            "usr/share/libvirt/schemas/domain.rng",
            "usr/bin/qemu-system-x86_64",
        ]),
        ..Root::default()
    }
}

/// What shows recordings: Wireshark's text form, and a browser without a screen. For tests that are
/// not run every day.
pub fn viewers() -> Root {
    Root {
        name: "viewers".to_owned(),
        purpose: "tshark and a browser without a screen",
        size: "200 MB",
        packages: strings(&[
            "tshark",
            "chromium-headless-shell,fontconfig-config,fonts-dejavu-core",
        ]),
        suites: &[suites::RELEASE, suites::TESTING],
        proof: strings(&[
            "usr/bin/tshark",
            "usr/lib/chromium/chromium-headless-shell",
            "etc/fonts/fonts.conf",
        ]),
        ..Root::default()
    }
}

/// Rust's standard library for 64-bit RISC-V, to check that crates compile for it.
pub fn riscv64() -> Root {
    Root {
        name: "rust-riscv64".to_owned(),
        purpose: "Rust's standard library for RISC-V",
        size: "45 MB",
        suites: &[suites::RELEASE, suites::TESTING],
        architectures: vec![Arch::host().debian(), "riscv64"],
        packages: strings(&["busybox-static"]),
        unpacked: strings(&["libstd-rust-dev:riscv64"]),
        proof: strings(&["usr/lib/rustlib/riscv64gc-unknown-linux-gnu/lib"]),
        ..Root::default()
    }
}

/// What runs programs of another architecture on this one, for tests. It is the previous release's: newer
/// ones do not emulate pages of another size.
pub fn emulator() -> Root {
    Root {
        name: "qemu-user-static".to_owned(),
        purpose: "the emulator of other processors",
        size: "45 MB",
        suites: &[suites::PREVIOUS],
        packages: strings(&["qemu-user-static"]),
        proof: strings(&["usr/bin/qemu-aarch64-static"]),
        ..Root::default()
    }
}
