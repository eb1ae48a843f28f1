//! What differs between guests of one processor architecture and another.
//!
//! Guests are of the host's architecture unless the user names another one, with `--arch` or
//! [`VARIABLE`]. Everything that has another name or number on another architecture is here: what
//! else the lab knows of a machine, it asks the guest.

use std::fmt;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::variables;

/// The environment variable that chooses the guests' architecture.
pub const VARIABLE: &str = "LAB_ARCH";

/// A processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Arch {
    /// 64-bit PCs.
    #[value(name = "x86-64", aliases = ["x86_64", "amd64"])]
    X86_64,
    /// 64-bit Arm.
    #[value(name = "arm64", alias = "aarch64")]
    Arm64,
}

/// The choice of `--arch`, or of the first use of [`Arch::guest`].
static GUEST: OnceLock<Arch> = OnceLock::new();

impl Arch {
    /// That of this program.
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::X86_64 }
    }

    /// That of the guests.
    pub fn guest() -> Self {
        // A name that is none is reported by `check`.
        *GUEST.get_or_init(|| Self::from_environment().unwrap_or(Self::host()))
    }

    /// Makes it that of the guests: what an option says, else [`VARIABLE`].
    pub fn choose(option: Option<Self>) -> Result<()> {
        let chosen = match option {
            Some(arch) => arch,
            None => Self::from_environment()?,
        };
        GUEST.set(chosen).ok().context("the guests' architecture is chosen already")
    }

    /// Checks that [`VARIABLE`] names one, if it is set.
    pub fn check() -> Result<()> {
        Self::from_environment().map(drop)
    }

    fn from_environment() -> Result<Self> {
        let Some(named) = variables::get(VARIABLE) else { return Ok(Self::host()) };
        let named = named.to_string_lossy();
        match <Self as ValueEnum>::from_str(&named, false) {
            Ok(arch) => Ok(arch),
            Err(_) => bail!("{VARIABLE}={named}: choose x86-64 or arm64"),
        }
    }

    /// Whether this machine's processors are of another one.
    pub fn is_foreign(self) -> bool {
        self != Self::host()
    }

    /// The first of two names on x86-64, the second one on arm64.
    const fn either(self, x86_64: &'static str, arm64: &'static str) -> &'static str {
        match self {
            Self::X86_64 => x86_64,
            Self::Arm64 => arm64,
        }
    }

    /// Its name for users.
    pub const fn name(self) -> &'static str {
        self.either("x86-64", "arm64")
    }

    /// Its name in Debian's archive.
    pub const fn debian(self) -> &'static str {
        self.either("amd64", "arm64")
    }

    /// GNU's name for it, which Debian's cross compilers and folders of libraries have.
    pub const fn triple(self) -> &'static str {
        self.either("x86_64-linux-gnu", "aarch64-linux-gnu")
    }

    /// Rust's name for it.
    pub const fn rust_target(self) -> &'static str {
        self.either("x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu")
    }

    /// The name of a tool of GNU's that works on its programs: the plain one on the same
    /// architecture.
    pub fn tool(self, name: &str) -> String {
        if self.is_foreign() { format!("{}-{name}", self.triple()) } else { name.to_owned() }
    }

    /// What the kernel's make has to be told to build for it.
    pub fn make_variables(self) -> Vec<String> {
        if !self.is_foreign() {
            return Vec::new();
        }
        let kernel = self.either("x86_64", "arm64");
        vec![format!("ARCH={kernel}"), format!("CROSS_COMPILE={}", self.tool(""))]
    }

    /// The C library's dynamic loader, as programs name it, without the first slash.
    pub const fn loader(self) -> &'static str {
        self.either("lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1")
    }

    /// Where the loader looks first for libraries, likewise.
    pub const fn libraries(self) -> &'static str {
        self.either("lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu")
    }

    /// The name of the QEMU that runs its machines.
    pub const fn qemu(self) -> &'static str {
        self.either("qemu-system-x86_64", "qemu-system-aarch64")
    }

    /// QEMU's machine for guests.
    pub const fn machine(self) -> &'static str {
        self.either("pc", "virt")
    }

    /// The processor that QEMU emulates. Of Arm's, older ones let the kernel follow a program's pointer,
    /// which hides mistakes; newer ones sign their pointers, which is slow to emulate.
    pub const fn emulated_processor(self) -> &'static str {
        self.either("max", "cortex-a76")
    }

    /// The console of the machine, as the guest's kernel names it.
    pub const fn console(self) -> &'static str {
        self.either("ttyS0", "ttyAMA0")
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
