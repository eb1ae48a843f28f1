//! The guest's environment: what is the same for all guests, and the lab has found in its private roots.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Result, ensure};

use crate::arch::Arch;
use crate::kernel::{self, Choice, Kernel};
use crate::qemu::Qemu;
use crate::{accel, lock, packages, patched_qemu, paths, process, progress};

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
        in_root(&self.build, &self.build.join(program))
    }
}

/// A command that runs a program with the libraries of a private root.
#[must_use]
pub fn in_root(root: &Path, program: &Path) -> Command {
    let [loader, option, libraries] = loader(root);
    let mut command = process::tied(loader);
    command.args([option, libraries]).arg(program);
    command
}

/// What comes before a program that is to have the libraries of a private root: that root's loader
/// and its arguments.
#[must_use]
pub fn loader(root: &Path) -> [String; 3] {
    let inside = |path: &str| root.join("usr").join(path).display().to_string();
    let host = Arch::host();
    [inside(host.loader()), "--library-path".to_owned(), inside(host.libraries())]
}

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
    static ENVIRONMENT: OnceLock<Result<Environment, String>> = OnceLock::new();
    once(&ENVIRONMENT, prepare)
}

fn newest_kernel() -> Result<&'static Kernel> {
    static KERNEL: OnceLock<Result<Kernel, String>> = OnceLock::new();
    once(&KERNEL, || {
        kernel::newest(&packages::newest_kernel(Arch::guest()).ensure(&lock::preparing()?)?)
    })
}

fn previous_headers() -> Result<&'static Kernel> {
    static KERNEL: OnceLock<Result<Kernel, String>> = OnceLock::new();
    once(&KERNEL, || {
        kernel::newest(&packages::previous_headers(Arch::guest()).ensure(&lock::preparing()?)?)
    })
}

/// What was made before, or is made now. An error is kept as text: anyhow's cannot be had twice.
fn once<T>(cell: &OnceLock<Result<T, String>>, make: impl FnOnce() -> Result<T>) -> Result<&T> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}")))
        .as_ref()
        .map_err(|error| anyhow::anyhow!("{error}"))
}

fn prepare() -> Result<Environment> {
    Arch::check()?;
    let arch = Arch::guest();
    let right = lock::preparing()?;
    let qemu = Qemu::find(&right)?;
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
    if qemu.ready() || Qemu::present()?.is_none() {
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
