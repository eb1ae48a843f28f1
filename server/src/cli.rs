//! The command line.

use std::iter::repeat;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use my_rng_server::config::Transport;
use my_rng_server::devices::my_rng::MyRngOptions;
use my_rng_server::devices::virtio_rng::VirtioRngOptions;
use my_rng_server::devices::{self, DeviceFactory, DeviceOptions, MakeDevice, given};
use vfio_user_device::cli;

use crate::exchange::Exchange;
use crate::libvirt::Libvirt;
use crate::probe::Probe;
use crate::replay::Replay;
use crate::status::Status;
use crate::trace::TraceCommand;

const EXAMPLES: &str = "\
EXAMPLES
  Serve the teaching device and attach a QEMU (10.1 or newer) to it:

    my-rng-server --socket-path /tmp/my-rng.sock &
    qemu-system-x86_64 ... \\
      -object memory-backend-memfd,id=m0,size=256M,share=on -machine memory-backend=m0 \\
      -device '{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\"/tmp/my-rng.sock\"}}'

  The numbers of the C library, the same in every run, and a log of each register access:

    my-rng-server --socket-path /tmp/my-rng.sock --generator glibc --seed 1 -vv

  Serve the standard entropy device, 1024 bytes a second of what a hardware generator gives:

    my-rng-server --socket-path /tmp/rng.sock --device virtio-rng \\
      --source file:/dev/hwrng --max-bytes 1024 --period 1000

  The same for vhost-user, which any QEMU and other virtual machine monitors attach to:

    my-rng-server --transport vhost-user --socket-path /tmp/rng.sock -m 1024 -p 1000 &
    qemu-system-x86_64 ... \\
      -object memory-backend-memfd,id=m0,size=256M,share=on -machine memory-backend=m0 \\
      -chardev socket,id=rng0,path=/tmp/rng.sock -device vhost-user-rng-pci,chardev=rng0

  Many guests, and a scarce source that they share (see docs/configuration.md):

    my-rng-server --config /etc/my-rng-server.toml --check-config
    my-rng-server --config /etc/my-rng-server.toml

  Know when to start QEMU, in a shell script:

    coproc SERVER { exec my-rng-server --socket-path /tmp/my-rng.sock --ready-fd 1; }
    read -r -u \"${SERVER[0]}\" && qemu-system-x86_64 ...

SIGNALS
  SIGINT and SIGTERM end the server: connections are closed, socket files removed, the exit status
  is 0. SIGHUP has the file of --config read again; without a file it ends the server, too, and the
  exit status is 1. The log says how many guests were connected. They lose the device: detach it, or
  unload its driver in the guest, before the server ends.

EXIT STATUS
  0 after SIGINT or SIGTERM, and of --check-config if nothing is wrong; 1 if a socket cannot be
  served or the file of --config is wrong; 2 for a wrong command line.";

/// What a file of --config says about sockets.
const BESIDE_CONFIG: [&str; 4] = ["socket_path", "socket_count", "fd", "socket_mode"];

/// The most sockets of -c: as many as a process on Linux may have descriptors (fs.nr_open).
const MAX_SOCKETS: u64 = 1 << 20;

/// Serve a PCI random number generator to a virtual machine over vfio-user.
///
/// The guest sees the teaching device (1234:cafe), with a register RANDOM at 0x0 of BAR 0, which
/// returns a new number at every read, and a register SEED at 0x4; or, with --device virtio-rng,
/// the standard entropy device. A socket serves one virtual machine at a time and any number one
/// after the other; the generator starts anew for each. There can be many sockets.
#[derive(Debug, Parser)]
#[command(version = env!("MY_RNG_VERSION"), after_long_help = EXAMPLES)]
pub struct Arguments {
    /// What every program with a device is told.
    #[command(flatten)]
    pub program: cli::Arguments,

    /// Which clients can attach. With vhost-user the device is virtio-rng, and the VMM decides on its
    /// interface, rings and interrupts.
    #[arg(long, value_enum, value_name = "TRANSPORT", default_value_t = Transport::VfioUser)]
    pub transport: Transport,

    /// Print what this vhost-user backend can do, in JSON, and exit. Other options are ignored.
    #[arg(long)]
    pub print_capabilities: bool,

    /// Serve N devices, at the paths of --socket-path with 0 to N-1 behind them. Each has its own
    /// state; --max-bytes is shared out equally.
    #[arg(
        short = 'c',
        long,
        value_name = "N",
        requires = "socket_path",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=MAX_SOCKETS)
    )]
    pub socket_count: Option<usize>,

    /// Serve the guests that FILE names, and share sources among them. SIGHUP has it read
    /// again; guests stay connected.
    #[arg(long, value_name = "FILE", conflicts_with_all = BESIDE_CONFIG)]
    pub config: Option<PathBuf>,

    /// Only say what is wrong with the file of --config.
    #[arg(long, requires = "config")]
    pub check_config: bool,

    /// Answer `my-rng-server status` at this socket.
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub control_socket: Option<PathBuf>,

    /// Write the states of the devices to FILE when the server ends, and go on from there at its next start.
    /// A seeded sequence then goes on over a restart of the server, of QEMU or of the host; --keep-state is
    /// implied. A file that cannot be used is renamed.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub state_file: Option<PathBuf>,

    /// The device to show.
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = MyRngOptions::NAME,
        value_parser = devices::device_names()
    )]
    pub device: String,

    /// What the device is told. These options are the device's own: see [`DeviceFactory`].
    #[arg(skip)]
    pub device_options: Option<DeviceOptions>,
}

/// What the process is to do.
#[derive(Debug)]
pub enum Task {
    /// Serve devices; without a subcommand.
    Serve(Box<Arguments>),
    /// Look at one.
    Probe(Probe),
    /// Ask a daemon how its guests are.
    Status(Status),
    /// Have another process take its place.
    Exchange(Exchange),
    /// Attach them to a libvirt domain.
    Libvirt(Libvirt),
    /// Show a recording.
    Trace(TraceCommand),
    /// Have a device do it again.
    Replay(Box<Replay>),
}

impl Task {
    /// The command line of this process. Ends it when it is wrong, or asks for help.
    pub fn of_this_process() -> Self {
        Self::from_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some(("status", matches)) => Status::from_arg_matches(matches).map(Task::Status),
            Some(("exchange", matches)) => Exchange::from_arg_matches(matches).map(Task::Exchange),
            Some(("libvirt", matches)) => Libvirt::from_arg_matches(matches).map(Task::Libvirt),
            Some(("trace", matches)) => TraceCommand::from_arg_matches(matches).map(Task::Trace),
            Some(("replay", matches)) => {
                Replay::from_matches(matches).map(Box::new).map(Task::Replay)
            }
            Some((_, matches)) => Probe::from_arg_matches(matches).map(Task::Probe),
            None => Arguments::from_matches(matches).map(Box::new).map(Task::Serve),
        }
    }
}

/// The options, and beside them the subcommands, which take none of them.
pub fn command() -> clap::Command {
    let probe = Probe::augment_args(clap::Command::new("probe"));
    let status = Status::augment_args(clap::Command::new("status"));
    devices::ALL
        .iter()
        .fold(Arguments::command(), |command, factory| factory.add_options(command))
        .subcommand(probe)
        .subcommand(status)
        .subcommand(Exchange::augment_args(clap::Command::new("exchange")))
        .subcommand(Libvirt::augment_args(clap::Command::new("libvirt")))
        .subcommand(TraceCommand::augment_args(clap::Command::new("trace")))
        .subcommand(Replay::command())
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
}

impl Arguments {
    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut arguments = Self::from_arg_matches(matches)?;
        if arguments.print_capabilities {
            return Ok(arguments);
        }
        if arguments.config.is_some() {
            refuse(conflict_with_config(matches))?;
            return Ok(arguments);
        }
        arguments.program.check(&mut command())?;
        if arguments.transport == Transport::VhostUser {
            refuse(arguments.conflict_with_vhost_user(matches))?;
            arguments.device = VirtioRngOptions::NAME.to_owned();
        }
        refuse(arguments.conflict_with_device(matches))?;
        let factory = devices::find(&arguments.device);
        let options = factory.map(|factory| factory.options_of_matches(matches)).transpose()?;
        arguments.device_options = options;
        Ok(arguments)
    }

    /// What is wrong with options that vhost-user leaves to the VMM.
    fn conflict_with_vhost_user(&self, matches: &ArgMatches) -> Option<String> {
        let reason = if given(matches, "device") && self.device != VirtioRngOptions::NAME {
            format!("vhost-user has only virtio-rng, not {}", self.device)
        } else if given(matches, "busy-poll-us") {
            "--busy-poll-us: vhost-user has no messages to wait for".to_owned()
        } else {
            let option =
                VirtioRngOptions::OF_VMM.into_iter().find(|option| given(matches, option))?;
            format!("--{option}: with vhost-user, the VMM decides this")
        };
        Some(format!("{reason} (--transport vhost-user)"))
    }

    /// What is wrong with options that the chosen device does not have but another one has.
    fn conflict_with_device(&self, matches: &ArgMatches) -> Option<String> {
        let others = devices::ALL.iter().filter(|factory| factory.name != self.device);
        let (option, other) = others
            .flat_map(|factory| factory.option_names().into_iter().zip(repeat(factory.name)))
            .find(|(option, _)| given(matches, option))?;
        Some(format!("--{option} is an option of --device {other}, and this is {}", self.device))
    }
}

/// What is wrong with options that are keys of the configuration file.
fn conflict_with_config(matches: &ArgMatches) -> Option<String> {
    let of_devices = devices::ALL.iter().flat_map(DeviceFactory::option_names);
    let own = ["device", "transport"].map(str::to_owned);
    let option = own.into_iter().chain(of_devices).find(|option| given(matches, option))?;
    Some(format!("--{option}: with --config, the file says this"))
}

fn refuse(conflict: Option<String>) -> Result<(), clap::Error> {
    let error = |reason| command().error(ErrorKind::ArgumentConflict, reason);
    conflict.map_or(Ok(()), |reason| Err(error(reason)))
}

#[cfg(test)]
mod tests;
