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
//! * The world: [`root`] makes private folders of Debian packages with [`mmdebstrap`], [`world`]
//!   says which ones, [`skip`] counts the tests that a missing one leaves out, [`kernel`] finds the
//!   kernels in them, [`qemu`] chooses the QEMU, and [`accel`] finds out whether KVM really works
//!   here. [`twin`] builds a QEMU that has the teaching device inside, to compare ours with.
//! * What goes into the guest: [`module_build`] compiles the kernel module, [`cargo_build`] the
//!   daemon and the tester, [`device_crate`] the user's own device and [`driver_build`] the user's
//!   own module, [`initramfs`] packs the guest's files with [`cpio`].
//! * A run: [`run_dir`], [`server`], [`guest`], which talks to the guest through [`agent`] and to
//!   QEMU through [`qmp`]; [`workbench`] exchanges devices and drivers while it runs.
//! * Others: [`libvirt`] is a session of a libvirt user, with the programs that they have.
//! * Strangers: [`sandbox`] runs what somebody handed in behind a wall.
//! * Order: [`process`] makes sure that nothing outlives the lab, [`lock`] that two labs do not
//!   prepare the same thing at once, [`slots`] that tests do not start more guests than the machine
//!   can run, [`progress`] tells the user what takes so long, which [`follow`] listens to.
//!
//! Packages are under `target/lab` of the checkout, or in `LAB_DIR`, which users can share; what a
//! user's lab makes is the user's own ([`paths`]).

pub mod accel;
pub mod agent;
pub mod cargo_build;
pub mod cpio;
pub mod device_crate;
pub mod driver_build;
pub mod follow;
pub mod guest;
pub mod initramfs;
pub mod interruption;
pub mod kernel;
pub mod libvirt;
pub mod lines;
pub mod lock;
pub mod mmdebstrap;
pub mod module_build;
pub mod paths;
pub mod process;
pub mod progress;
pub mod qemu;
pub mod qmp;
pub mod root;
pub mod run_dir;
pub mod sandbox;
pub mod server;
pub mod skip;
pub mod slots;
pub mod twin;
pub mod workbench;
pub mod world;

pub use guest::Guest;
pub use kernel::Choice;
pub use run_dir::RunDir;
pub use server::Server;
pub use workbench::Workbench;
