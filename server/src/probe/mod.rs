//! `my-rng-server probe`: looks at a device, reads and writes its registers, without a virtual
//! machine.
//!
//! It is a vfio-user client for any server, and knows no device of this project.
//!
//! | module | what it knows |
//! | --- | --- |
//! | `protocol` | messages |
//! | `connection` | the socket, and what a server may do to a client |
//! | `device`, `region` | regions and registers |
//! | `pci`, `capabilities` | configuration space |
//! | `description`, `registers`, `timing` | the commands, and what they print |

mod capabilities;
mod connection;
mod description;
mod device;
mod pci;
mod protocol;
mod region;
mod registers;
mod timing;

use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use device::Device;

const EXAMPLES: &str = "\
EXAMPLES
    my-rng-server probe /tmp/my-rng.sock
    my-rng-server probe /tmp/my-rng.sock read 0 0x0 4
    my-rng-server probe /tmp/my-rng.sock write 0 0x4 4 42
    my-rng-server probe /tmp/my-rng.sock dump config
    my-rng-server probe /tmp/my-rng.sock time 100000 0 0x0 4

EXIT STATUS
  0 if the server answered, 1 if it did not or refused, 2 for a wrong command line.";

/// Look at the device of any vfio-user server, without a virtual machine.
///
/// Without a command, shows what the device has, much as lspci -vv does in a guest. Most servers
/// take one client at a time: disconnect the virtual machine first. Reading a register can change
/// the device, as it does in a guest.
#[derive(Debug, Args)]
#[command(
    after_long_help = EXAMPLES,
    disable_help_subcommand = true,
    disable_version_flag = true
)]
pub struct Probe {
    /// The socket that the server listens at.
    socket: PathBuf,

    /// How long to wait for an answer, in milliseconds.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5000,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    timeout_ms: u32,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read a register, once or COUNT times.
    Read(registers::ReadRegister),
    /// Write a register.
    Write(registers::WriteRegister),
    /// Show registers in hexadecimal: each is read, which can have side effects. Equal lines are
    /// shown once and with a star, registers that the server refuses to read as question marks.
    Dump(registers::Dump),
    /// Time register reads.
    Time(timing::Time),
}

impl Probe {
    /// Does what the command line asks for.
    ///
    /// # Errors
    /// There is no server, it does not answer or refuses, or standard output cannot be written.
    pub fn run(&self) -> anyhow::Result<()> {
        let mut out = BufWriter::new(io::stdout());
        let done = self.write_to(&mut out);
        // What was found out is shown, even if the rest failed.
        let done = done.and(out.flush().map_err(Into::into));
        let Err(error) = done else {
            return Ok(());
        };
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            None => Err(error),
            // The reader has seen enough, as head(1) may have.
            Some(ErrorKind::BrokenPipe) => Ok(()),
            Some(_) => Err(error.context("cannot write to standard output")),
        }
    }

    fn write_to(&self, out: &mut impl Write) -> anyhow::Result<()> {
        let timeout = Duration::from_millis(self.timeout_ms.into());
        let mut device = Device::open(&self.socket, timeout)?;
        match &self.command {
            None => description::describe(&mut device, out),
            Some(Command::Read(read)) => read.run(&mut device, out),
            Some(Command::Write(write)) => write.run(&mut device),
            Some(Command::Dump(dump)) => dump.run(&mut device, out),
            Some(Command::Time(time)) => time.run(&mut device, out),
        }
    }
}
