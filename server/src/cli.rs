//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, RangedU64ValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser};
use my_rng_server::config::Transport;
use my_rng_server::devices::{self, my_rng, virtio_rng};
use my_rng_server::generator;
use my_rng_server::limiter::{parse_max_bytes, parse_period};
use my_rng_server::source::Specification;
use my_rng_server::virtio::Interface;
use vfio_user_kit::program;

use crate::libvirt::Libvirt;
use crate::probe::Probe;
use crate::status::Status;

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

/// Headings in the help.
const MY_RNG: &str = "Options of --device my-rng";
const VIRTIO_RNG: &str = "Options of --device virtio-rng";

/// Serve a PCI random number generator to a virtual machine over vfio-user.
///
/// The guest sees the teaching device (1234:cafe), with a register RANDOM at 0x0 of BAR 0, which
/// returns a new number at every read, and a register SEED at 0x4; or, with --device virtio-rng,
/// the standard entropy device. A socket serves one virtual machine at a time and any number one
/// after the other; the generator starts anew for each. There can be many sockets.
#[derive(Debug, Parser)]
#[command(version, after_long_help = EXAMPLES)]
pub struct Arguments {
    /// What every program with a device is told.
    #[command(flatten)]
    pub program: program::Arguments,

    /// Who can attach. With vhost-user the device is virtio-rng, and the virtual machine says what
    /// its interface, rings and interrupts are like.
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

    /// The device to show.
    #[arg(
        long,
        value_name = "DEVICE",
        default_value = my_rng::KIND.name,
        value_parser = device_names()
    )]
    pub device: String,

    /// Where the numbers come from.
    #[arg(help_heading = MY_RNG, long, value_enum, default_value_t = generator::Kind::Chacha20)]
    pub generator: generator::Kind,

    /// Seed the generator with N (decimal, or hexadecimal with 0x), as if the guest had written it
    /// to SEED. Without it the operating system chooses.
    #[arg(help_heading = MY_RNG, long, value_name = "N", value_parser = parse_seed)]
    pub seed: Option<u32>,

    /// Let the generator go on where it is when a virtual machine goes. Otherwise it starts anew, as
    /// --seed says, so that the next one does not see numbers of a seed that the last one chose.
    #[arg(help_heading = MY_RNG, long)]
    pub keep_state: bool,

    /// The interface to show. A transitional device has the legacy one too, for
    /// drivers older than Linux 4.0.
    #[arg(
        help_heading = VIRTIO_RNG,
        long,
        value_enum,
        value_name = "INTERFACE",
        default_value_t = Interface::Modern
    )]
    pub virtio: Interface,

    /// Offer a packed virtqueue, too, as QEMU's packed=on does.
    #[arg(help_heading = VIRTIO_RNG, long)]
    pub packed: bool,

    /// MSI-X vectors. With 0 there is no MSI-X and the device interrupts by its pin,
    /// which is slower; QEMU up to 11.1 ends when a vfio-user device with MSI-X is unplugged.
    #[arg(
        help_heading = VIRTIO_RNG,
        long,
        value_name = "N",
        default_value = "2",
        value_parser = ["0", "2"]
    )]
    pub vectors: String,

    /// Where the bytes come from: getrandom, file:PATH (a device, pipe or file),
    /// egd:unix:PATH, egd:tcp:HOST:PORT or egd:udp:HOST:PORT (an entropy gathering daemon; with
    /// ",listen" behind it, wait for it to connect; behind udp, ",local=HOST:PORT" is where
    /// requests come from), or, for tests, chacha20:SEED. What a source
    /// cannot give yet, the guest waits for.
    #[arg(
        help_heading = VIRTIO_RNG,
        long,
        value_name = "SOURCE",
        default_value_t = Specification::Getrandom
    )]
    pub source: Specification,

    /// The same as --source file:PATH.
    #[arg(
        help_heading = VIRTIO_RNG,
        short = 'f',
        long,
        visible_alias = "rng-source",
        value_name = "PATH",
        conflicts_with = "source"
    )]
    pub filename: Option<PathBuf>,

    /// When a regular file that is the source ends, read it again from the start.
    /// Otherwise the guest waits for it to grow.
    #[arg(help_heading = VIRTIO_RNG, long)]
    pub file_loop: bool,

    /// Let the guest take at most N bytes in each period. Without it there is no limit.
    #[arg(
        help_heading = VIRTIO_RNG,
        short,
        long,
        value_name = "N",
        allow_negative_numbers = true,
        value_parser = parse_max_bytes
    )]
    pub max_bytes: Option<u64>,

    /// Length of a period in milliseconds.
    #[arg(
        help_heading = VIRTIO_RNG,
        short,
        long,
        value_name = "MS",
        default_value = "65536",
        allow_negative_numbers = true,
        value_parser = parse_period
    )]
    pub period: Duration,
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
    /// Attach them to a libvirt domain.
    Libvirt(Libvirt),
}

impl Task {
    /// The command line of this process. Ends it when it is wrong, or asks for help.
    pub fn of_this_process() -> Self {
        Self::from_matches(&command().get_matches()).unwrap_or_else(|error| error.exit())
    }

    fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some(("status", matches)) => Status::from_arg_matches(matches).map(Task::Status),
            Some(("libvirt", matches)) => Libvirt::from_arg_matches(matches).map(Task::Libvirt),
            Some((_, matches)) => Probe::from_arg_matches(matches).map(Task::Probe),
            None => Arguments::from_matches(matches).map(Box::new).map(Task::Serve),
        }
    }
}

/// The options, and beside them the subcommands, which take none of them.
fn command() -> clap::Command {
    let probe = Probe::augment_args(clap::Command::new("probe"));
    let status = Status::augment_args(clap::Command::new("status"));
    Arguments::command()
        .subcommand(probe)
        .subcommand(status)
        .subcommand(Libvirt::augment_args(clap::Command::new("libvirt")))
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
            arguments.check_options_beside_config(matches)?;
            return Ok(arguments);
        }
        arguments.program.check(&mut command())?;
        if arguments.transport == Transport::VhostUser {
            arguments.check_vhost_user_options(matches)?;
            arguments.device = virtio_rng::KIND.name.to_owned();
        }
        arguments.check_device_options(matches)?;
        Ok(arguments)
    }

    /// Refuses options that are keys of the configuration file.
    fn check_options_beside_config(&self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let of_devices = devices::ALL.iter().flat_map(|kind| kind.options);
        let mut options = ["device", "transport"].iter().chain(of_devices);
        match options.find(|option| given(matches, option)) {
            None => Ok(()),
            Some(option) => Err(command().error(
                ErrorKind::ArgumentConflict,
                format!("--{}: with --config, the file says this", option.replace('_', "-")),
            )),
        }
    }

    /// Refuses what vhost-user leaves to the virtual machine.
    fn check_vhost_user_options(&self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let refuse = |reason: String| {
            Err(command()
                .error(ErrorKind::ArgumentConflict, format!("{reason} (--transport vhost-user)")))
        };
        if given(matches, "device") && self.device != virtio_rng::KIND.name {
            return refuse(format!("vhost-user has no {}, only virtio-rng", self.device));
        }
        if self.packed {
            return refuse("--packed: vhost-user has split rings only here".into());
        }
        if given(matches, "busy_poll_us") {
            return refuse("--busy-poll-us: there are no messages to wait for".into());
        }
        match ["virtio", "vectors"].into_iter().find(|option| given(matches, option)) {
            Some(option) => refuse(format!("--{option} is for the virtual machine to say")),
            None => Ok(()),
        }
    }

    /// Refuses options that the chosen device has no use for but another one does.
    fn check_device_options(&self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let useless = devices::ALL
            .iter()
            .filter(|kind| kind.name != self.device)
            .flat_map(|kind| kind.options.iter().map(move |option| (kind, option)))
            .find(|(_, option)| given(matches, option));
        match useless {
            None => Ok(()),
            Some((kind, option)) => Err(command().error(
                ErrorKind::ArgumentConflict,
                format!(
                    "--{} is an option of --device {}, and this is {}",
                    option.replace('_', "-"),
                    kind.name,
                    self.device
                ),
            )),
        }
    }
}

/// Whether an option is on the command line.
fn given(matches: &ArgMatches, option: &str) -> bool {
    matches.value_source(option).is_some_and(|source| source == ValueSource::CommandLine)
}

/// The names of all devices, with what they are.
fn device_names() -> PossibleValuesParser {
    devices::ALL
        .iter()
        .map(|kind| PossibleValue::new(kind.name).help(kind.about))
        .collect::<Vec<_>>()
        .into()
}

fn parse_seed(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{error}; a number from 0 to 4294967295 is needed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn seeds_are_decimal_or_hexadecimal() {
        assert_eq!(parse_seed("42"), Ok(42));
        assert_eq!(parse_seed("0xffffffff"), Ok(u32::MAX));
        assert!(parse_seed("4294967296").is_err());
        assert!(parse_seed("-1").is_err());
    }
}
