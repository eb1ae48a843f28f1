//! A program whose device has options of its own.

use std::error::Error;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser};

use super::{Action, Arguments, Program, ProgramError, exit_status};
use crate::device::Device;

/// Serve a PCI device to a virtual machine over vfio-user.
#[derive(Debug, Parser)]
struct CommandLine<O: Args> {
    #[command(flatten)]
    program: Arguments,
    #[command(flatten)]
    device: O,
    #[command(subcommand)]
    action: Option<Action>,
}

/// Those of a device without any.
#[derive(Debug, Args)]
#[group(skip)]
pub(super) struct NoOptions {}

/// The `main` of a program that serves one device with options of its own, beside those of
/// [`Arguments`]: takes the command line, makes the device, and ends with the process's exit status.
///
/// ```no_run
/// use vfio_user_device::cli::clap;
/// # use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, Identity};
///
/// #[derive(clap::Args)]
/// struct Options {
///     /// Where to begin to count.
///     #[arg(long, default_value_t = 0)]
///     start: u64,
/// }
///
/// struct Counter {
///     reads: u64,
/// }
/// # impl Device for Counter {
/// #     fn config(&self) -> DeviceConfig {
/// #         DeviceConfig::new(Identity::new(0x1234, 0xc0de)).bar(0, Bar::memory32(4096))
/// #     }
/// #     fn read(&mut self, _: &mut Bus, _: Access) -> u64 { 0 }
/// #     fn write(&mut self, _: &mut Bus, _: Access, _: u64) {}
/// # }
///
/// fn main() -> std::process::ExitCode {
///     vfio_user_device::cli::main_with(|options: Options| Ok(Counter { reads: options.start }))
/// }
/// ```
pub fn main_with<O: Args, D: Device>(
    make: impl FnOnce(O) -> Result<D, Box<dyn Error + Send + Sync>>,
) -> ExitCode {
    let CommandLine { program, device, action } = CommandLine::<O>::parse();
    if let Some(action) = action {
        let device = make(device).map_err(ProgramError::Device);
        return exit_status(device.and_then(|device| action.run(device)));
    }
    let mut command = CommandLine::<O>::command();
    program.check(&mut command).unwrap_or_else(|error| error.exit());
    let served = Program::start(&program)
        .and_then(|started| started.serve(make(device).map_err(ProgramError::Device)?));
    exit_status(served)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Args)]
    struct Options {
        /// Where to begin.
        #[arg(long)]
        start: Option<u64>,
    }

    #[test]
    fn the_options_of_device_and_program_are_one_command_line() {
        CommandLine::<NoOptions>::command().debug_assert();
        CommandLine::<Options>::command().debug_assert();
        let line = ["device", "--start", "7", "--socket-path", "/tmp/s"];
        let parsed = CommandLine::<Options>::try_parse_from(line).unwrap();
        assert_eq!(parsed.device.start, Some(7));
        assert!(parsed.program.socket_path.is_some());
        let line = ["device", "--start", "7", "replay", "file"];
        let parsed = CommandLine::<Options>::try_parse_from(line).unwrap();
        assert!(parsed.device.start == Some(7) && parsed.action.is_some());
    }
}
