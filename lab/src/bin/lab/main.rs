//! `lab`: what `scripts/lab.sh` runs. Boots a guest on stock QEMU with our device attached.

mod arguments;
mod debug;
mod demonstration;
mod doctor;
mod shell;
mod terminal;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use arguments::{GuestFile, Parameters};
use clap::Parser;
use lab::{Choice, cargo_build, interruption, module_build, twin, world};

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
  GENERATOR=glibc|chacha20
                         the server's generator [default: glibc, whose numbers are well known]
  LAB_MIRROR=URL         fetch Debian packages from this mirror
  LAB_DIR=PATH           take the packages from there instead of from target/lab, or put them
                         there; many users can share a folder that one of them has filled

Logs of the last run are in target/lab/run."
)]
struct Options {
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

    /// A root shell in the guest. Leave it with exit, poweroff, or Ctrl-A x
    #[arg(long)]
    shell: bool,

    /// Show a device of your own instead: a Rust file with the device kit, or a crate's folder
    #[arg(long, value_name = "PATH", conflicts_with = "doctor")]
    device: Option<PathBuf>,

    /// Load a kernel module of your own instead: a folder with a Kbuild or with one C file, or a
    /// single file, as check.sh takes them
    #[arg(long, value_name = "PATH", conflicts_with_all = ["doctor", "shell"])]
    driver: Option<PathBuf>,

    /// Parameters for that module, as insmod takes them: 'a=1 b="two words"'
    #[arg(long, value_name = "NAME=VALUE", requires = "driver", value_parser = arguments::parameters)]
    parameters: Option<Parameters>,

    /// Give the guest a file, in /root or at the path GUEST; can be given several times
    #[arg(long, value_name = "HOST[=GUEST]", conflicts_with = "doctor", value_parser = arguments::guest_file)]
    file: Vec<GuestFile>,

    /// Keep the guest running, and exchange the device or the module whenever its source changes.
    /// Ctrl-C ends it
    #[arg(long, conflicts_with_all = ["doctor", "shell"])]
    watch: bool,

    /// Let a debugger stop the device for as long as you like: says how to attach one, and waits for
    /// Enter before it goes on
    #[arg(long, conflicts_with_all = ["doctor", "build_qemu"])]
    debug: bool,

    /// Show what this command prints in the guest; its exit status becomes that of the lab
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["doctor", "shell"])]
    run: Option<String>,
}

impl Options {
    /// Whether something other than the teaching device with its module is to be shown.
    fn own(&self) -> bool {
        let shown = self.device.is_some() || self.driver.is_some() || self.run.is_some();
        shown || self.watch || self.debug || !self.file.is_empty()
    }
}

fn main() -> ExitCode {
    let options = Options::parse();
    let result = interruption::end_on_signals(terminal::restore).and_then(|()| {
        if options.doctor {
            doctor::report().map(code)
        } else if options.build_qemu {
            build_qemu().map(code)
        } else if options.update {
            world::update().map(|()| ExitCode::SUCCESS)
        } else if options.shell {
            shell::run(options.device.as_deref(), &options.file, options.debug).map(code)
        } else if options.own() {
            watch::run(&options)
        } else {
            demonstration::run().map(code)
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

/// Builds the twin and says where it is.
fn build_qemu() -> Result<bool> {
    twin::build()?;
    println!("{}", twin::program().display());
    Ok(true)
}

/// Fetches and builds everything a session needs, so that only the guest is left to wait for.
fn prepare() -> Result<Choice> {
    let choice = Choice::from_environment()?;
    // Cargo keeps the processors busy while packages are fetched.
    let (world, programs) = std::thread::scope(|scope| {
        let programs = scope.spawn(|| cargo_build::server().and_then(|_| cargo_build::tester()));
        (world::get(), programs.join())
    });
    programs.map_err(|_| anyhow!("the thread that runs cargo has panicked"))??;
    module_build::build(world?.kernel(choice))?;
    Ok(choice)
}

/// The server's generator for a person's session.
fn generator() -> Result<&'static str> {
    Ok(lab::qemu::one_of("GENERATOR", &["glibc", "chacha20"])?.unwrap_or("glibc"))
}
