//! `lab`: what `scripts/lab.sh` runs. Boots a guest on stock QEMU with our device attached.

mod arguments;
mod changes;
mod debug;
mod demonstration;
mod doctor;
mod own;
mod shell;
mod terminal;
mod watch;

use std::num::NonZeroU8;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow};
use arguments::{GuestFile, Parameters};
use clap::Parser;
use lab::{Arch, Choice, cargo_build, environment, interruption, module_build, patched_qemu};

/// Boot a virtual machine with the my_rng device on stock QEMU
///
/// Starts my-rng-server, attaches its device to a Debian kernel running on QEMU, and shows the
/// device at work: lspci, devmem on both registers, the kernel module, the tester. The exit status
/// is 0 only if all of it worked.
///
/// The first run fetches about 200 MB of Debian packages to target/lab and takes a few minutes;
/// nothing outside this checkout is touched. Removing target/lab removes it all.
#[derive(Debug, Parser)]
#[command(
    name = "lab.sh",
    after_help = "\
Environment:
  QEMU=PATH              use this QEMU (10.1 or newer, with vfio-user-pci)
  ACCEL=tcg|kvm          emulate, or use KVM, without trying which works
  KERNEL=6.12|newest     the guest's kernel [default: 6.12]
  LAB_ARCH=x86-64|arm64  as --arch
  GENERATOR=glibc|chacha20
                         the server's generator [default: glibc, whose numbers are well known]
  LAB_MIRROR=URL         fetch Debian packages from this mirror
  LAB_DIR=PATH           take the packages from there instead of from target/lab, or put them
                         there; many users can share a folder that one of them has filled
  LAB_VERBOSE=1          show all that cargo says

Logs of the last run are in target/lab/run."
)]
struct Options {
    /// The guest's processors: those of this machine if not said. Others are emulated
    #[arg(long, value_enum, value_name = "ARCH")]
    arch: Option<Arch>,

    /// Only report: which QEMU and why, whether KVM works, what is missing and how to get it
    #[arg(long, conflicts_with = "shell")]
    doctor: bool,

    /// Only build the QEMU that has my_rng inside, with which ours is compared: what
    /// scripts/build-qemu.sh does
    #[arg(long, conflicts_with_all = ["doctor", "shell"])]
    build_qemu: bool,

    /// Only fetch the Debian packages anew, beside the old ones, which stay when the new ones do
    /// not come
    #[arg(long, conflicts_with_all = ["doctor", "build_qemu", "shell"])]
    update: bool,

    /// A root shell in the guest, with what the other options name. Leave it with exit, poweroff, or
    /// Ctrl-A x
    #[arg(long)]
    shell: bool,

    /// Show a device of your own instead: a C file with QEMU's device API, a folder of them or a
    /// patch that adds them to QEMU; or a Rust file with the device kit, or a crate's folder
    #[arg(long, value_name = "PATH", conflicts_with = "doctor")]
    device: Option<PathBuf>,

    /// Compile a device in C without the address and undefined behaviour sanitizers: it is faster,
    /// and a mistake in it is not named by file and line
    #[arg(long, requires = "device")]
    no_sanitize: bool,

    /// Load a kernel module of your own instead: a folder with a Kbuild or with one C file, or a
    /// single file, as check.sh takes them
    #[arg(long, value_name = "PATH", conflicts_with = "doctor")]
    driver: Option<PathBuf>,

    /// Put a program of your own into the guest's /root and run it, with a driver loaded: a C file, or
    /// a folder with one program
    #[arg(long, value_name = "FILE.c", conflicts_with = "doctor")]
    app: Option<PathBuf>,

    /// Plug so many devices in; the second one is at 00:05.0, and so on
    #[arg(long, value_name = "N", default_value = "1", value_parser = device_count, conflicts_with = "doctor")]
    devices: NonZeroU8,

    /// Parameters for that module, as insmod takes them: 'a=1 b="two words"'
    #[arg(long, value_name = "NAME=VALUE", requires = "driver", value_parser = arguments::parameters)]
    parameters: Option<Parameters>,

    /// Give the guest a file, in /root or at the path GUEST; can be given several times
    #[arg(long, value_name = "HOST[=GUEST]", conflicts_with = "doctor", value_parser = arguments::guest_file)]
    file: Vec<GuestFile>,

    /// Keep the guest running, and exchange the device, the module or the program whenever its source
    /// changes. Ctrl-C ends it
    #[arg(long, conflicts_with = "doctor")]
    watch: bool,

    /// Let a debugger stop the device for as long as you like: says how to attach one, and waits for
    /// Enter before it goes on
    #[arg(long, conflicts_with_all = ["doctor", "build_qemu"])]
    debug: bool,

    /// Record what happens between guest and device to FILE; my-rng-server trace FILE shows it. Devices
    /// that take its place with --watch are recorded to FILE.2, and so on
    #[arg(long, value_name = "FILE", conflicts_with_all = ["doctor", "build_qemu", "update"])]
    record: Option<PathBuf>,

    /// Show what this command prints in the guest; its exit status becomes that of the lab
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["doctor", "shell"])]
    run: Option<String>,
}

impl Options {
    /// The file of the recording, wherever a process is.
    fn record(&self) -> Result<Option<PathBuf>> {
        let absolute = |file| std::path::absolute(file).context("--record");
        self.record.as_ref().map(absolute).transpose()
    }

    /// Whether something other than the teaching device with its module is to be shown.
    fn own(&self) -> bool {
        let shown = self.device.is_some() || self.driver.is_some() || self.app.is_some();
        shown
            || self.run.is_some()
            || self.devices.get() > 1
            || self.watch
            || self.debug
            || !self.file.is_empty()
    }
}

/// How many devices there is a free slot for.
const MAX_DEVICES: u8 = 16;

fn device_count(text: &str) -> Result<NonZeroU8> {
    let count = text.parse().ok().filter(|count: &NonZeroU8| count.get() <= MAX_DEVICES);
    count.ok_or_else(|| anyhow!("expected a number from 1 to {MAX_DEVICES}"))
}

fn main() -> ExitCode {
    let options = Options::parse();
    let arch = Arch::choose(options.arch);
    let result =
        arch.and_then(|()| interruption::end_on_signals(terminal::restore)).and_then(|()| {
            if options.doctor {
                doctor::report().map(code)
            } else if options.build_qemu {
                build_qemu().map(code)
            } else if options.update {
                environment::update().map(|()| ExitCode::SUCCESS)
            } else if options.shell {
                shell::run(&options).map(code)
            } else if options.own() {
                watch::run(&options)
            } else {
                options.record().and_then(demonstration::run).map(code)
            }
        });
    result.unwrap_or_else(|error| {
        eprintln!("lab: {error:#}");
        ExitCode::FAILURE
    })
}

/// The exit status for whether all was well.
fn code(well: bool) -> ExitCode {
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Builds the patched QEMU and says where it is.
fn build_qemu() -> Result<bool> {
    patched_qemu::build()?;
    println!("{}", patched_qemu::program().display());
    Ok(true)
}

/// Fetches and builds everything a session needs, so that only the guest is left to wait for.
fn prepare() -> Result<Choice> {
    let choice = Choice::from_environment()?;
    // Cargo keeps the processors busy while packages are fetched.
    let (environment, programs) = std::thread::scope(|scope| {
        let programs = scope.spawn(|| cargo_build::server().and_then(|_| cargo_build::tester()));
        (environment::get(), programs.join())
    });
    programs.map_err(|_| anyhow!("the thread that runs cargo has panicked"))??;
    module_build::build(environment?.kernel(choice))?;
    Ok(choice)
}
