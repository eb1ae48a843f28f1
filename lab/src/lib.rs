//! The lab: everything needed to plug a device of ours into a real guest.
//!
//! A test, and the `lab` program behind `scripts/lab.sh`, is written in these words:
//!
//! ```text
//! let run    = RunDir::create("demo")?;                       // sockets and logs of this run
//! let server = Server::start(&run, "my-rng", &["-v"])?;       // our daemon
//! let guest  = Guest::builder(&run).attach(&server).boot()?;  // stock QEMU, a Debian kernel
//! let output = guest.run("lspci -v")?;                        // a command in the guest
//! ```
//!
//! What happens behind them, one idea per file:
//!
//! * The environment: [`root`] makes private folders of Debian packages with [`mmdebstrap`], [`packages`]
//!   says which ones, and [`arch`] what differs between processor architectures; [`environment`] has what
//!   was found in them, [`entry`] how their programs are run. [`kernel`] finds the
//!   kernels in them, [`qemu`] chooses the QEMU, and [`accel`] finds out whether KVM really works
//!   here. [`patched_qemu`] builds a QEMU that has the teaching device inside, to compare ours with.
//! * What goes into the guest: [`module_build`] compiles the kernel module, [`cargo_build`] the
//!   daemon and the tester, with [`cross_cargo`] for another architecture, [`device_source`] the
//!   user's own device ([`device_crate`] in Rust, [`c_device`] in C) and [`driver_build`] the user's
//!   own module, [`initramfs`] packs the guest's files with [`cpio`].
//! * A run: [`run_dir`], [`server`], [`guest`], which boots or goes on from a guest that was
//!   [saved](guest::saved) when it had booted, and talks to the guest through [`agent`] and to
//!   QEMU through [`qmp`]; [`live_guest`] exchanges devices and drivers while it runs, and says what
//!   [`oops`] the guest's kernel has met.
//! * Submissions: [`sandbox`] runs what was handed in with few rights; [`container`] tries the lab
//!   where there are no namespaces.
//! * Order: [`process`] makes sure that nothing outlives the lab, [`lock`] that two labs do not
//!   prepare the same thing at once, [`slots`] that tests do not start more guests than the machine
//!   can run, [`progress`] tells the user what takes so long, which [`follow`] listens to; [`files`]
//!   is `std::fs` with errors that name the file, [`once`] keeps what is made once, and [`variables`]
//!   has what the user chose by the environment.
//!
//! Packages are under `target/lab` of the checkout, or in `LAB_DIR`, which users can share; what a
//! user's lab makes is the user's own ([`paths`]).

pub mod accel;
pub mod agent;
pub mod arch;
pub mod c_device;
pub mod cargo_build;
pub mod container;
pub mod cpio;
pub mod cross_cargo;
pub mod device_crate;
pub mod device_source;
pub mod driver_build;
pub mod entry;
pub mod environment;
pub mod files;
pub mod follow;
pub mod guest;
pub mod initramfs;
pub mod interruption;
pub mod kernel;
pub mod lines;
pub mod live_guest;
pub mod lock;
pub mod mmdebstrap;
pub mod module_build;
pub mod once;
pub mod oops;
pub mod packages;
pub mod patched_qemu;
pub mod paths;
pub mod process;
pub mod progress;
pub mod qemu;
pub mod qmp;
pub mod root;
pub mod run_dir;
pub mod sandbox;
pub mod server;
pub mod slots;
pub mod variables;

pub use arch::Arch;
pub use guest::Guest;
pub use kernel::Choice;
pub use live_guest::LiveGuest;
pub use run_dir::RunDir;
pub use server::Server;
