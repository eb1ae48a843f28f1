//! The guest's environment: what is the same for all guests, and the lab has found in its private roots.

use anyhow::{Result, ensure};

use crate::arch::Arch;
use crate::kernel::{self, Choice, Kernel};
use crate::once::{OnceResult, once};
use crate::packages::Roots;
use crate::qemu::Qemu;
use crate::root::Root;
use crate::{accel, lock, packages, patched_qemu, paths, progress};

/// Everything that is the same for all guests of this process.
#[derive(Debug)]
pub struct Environment {
    /// What guests are made of.
    pub roots: Roots,
    /// The kernel in them.
    release: Kernel,
    /// The QEMU in use.
    pub qemu: Qemu,
    /// How it runs guests.
    pub accel: accel::Accel,
}

impl Environment {
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

/// The environment, made on first use; guests in other threads wait for it.
pub fn get() -> Result<&'static Environment> {
    static ENVIRONMENT: OnceResult<Environment> = OnceResult::new();
    once(&ENVIRONMENT, prepare)
}

fn newest_kernel() -> Result<&'static Kernel> {
    static KERNEL: OnceResult<Kernel> = OnceResult::new();
    once(&KERNEL, || kernel_of(&packages::newest_kernel(Arch::guest())))
}

fn previous_headers() -> Result<&'static Kernel> {
    static KERNEL: OnceResult<Kernel> = OnceResult::new();
    once(&KERNEL, || kernel_of(&packages::previous_headers(Arch::guest())))
}

fn kernel_of(root: &Root) -> Result<Kernel> {
    kernel::newest(&root.ensure(&lock::preparing()?)?)
}

fn prepare() -> Result<Environment> {
    Arch::check()?;
    let arch = Arch::guest();
    let right = lock::preparing()?;
    let qemu = Qemu::find(&packages::qemu(arch), &right)?;
    let roots = Roots {
        arch,
        build: packages::build(arch).ensure(&right)?,
        guest: packages::guest(arch).ensure(&right)?,
    };
    let release = kernel::bootable(&roots.build)?;
    let accel = accel::choose(&qemu, &roots, &release, &right)?;
    progress::say(&format!("{qemu}; {accel}"));
    Ok(Environment { roots, release, qemu, accel })
}

/// Makes the roots anew that this lab uses, each beside the old one; an old one stays when the new
/// one does not come.
pub fn update() -> Result<()> {
    let arch = Arch::guest();
    let right = lock::preparing()?;
    ensure!(
        paths::packages() == paths::lab(),
        "{} belongs to another user, who has to update it",
        paths::packages().display()
    );
    packages::guest(arch).make(&right)?;
    if arch.is_foreign() {
        packages::build(arch).make(&right)?;
    }
    let qemu = packages::qemu(arch);
    if qemu.ready() || Qemu::present(&qemu)?.is_none() {
        qemu.make(&right)?;
    }
    let others = [
        packages::newest_kernel(arch),
        packages::previous_headers(arch),
        packages::libvirt(),
        packages::viewers(),
        patched_qemu::tools(),
    ];
    others.iter().filter(|root| root.ready()).try_for_each(|root| root.make(&right))
}
