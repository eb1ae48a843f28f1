//! The command line.

use crate::checks::Group;
use crate::expected::GeneratorKind;
use clap::Parser;
use std::path::PathBuf;

/// Check a my_rng device and its driver from inside a guest
///
/// Prints TAP version 14. Checks that the system does not allow at the moment are skipped and say
/// why. The checks seed the device: do not run them beside a program that needs its own sequence.
#[derive(Debug, Parser)]
#[command(version, after_help = "Exit status: 0 no check failed, 1 some did, 2 could not run.")]
pub struct Options {
    /// The driver's character device
    #[arg(long, value_name = "PATH", default_value = "/dev/my_rng_driver")]
    pub device: PathBuf,

    /// The generator the server was started with, to know the numbers to expect
    #[arg(long, value_enum, default_value_t = GeneratorKind::Unknown)]
    pub generator: GeneratorKind,

    /// PCI address, as in 0000:00:04.0 [default: the one behind --device, or the first 1234:cafe]
    #[arg(long, value_name = "ADDRESS")]
    pub pci: Option<String>,

    /// Only these groups of checks
    #[arg(long, value_enum, value_delimiter = ',', value_name = "GROUP")]
    pub only: Vec<Group>,

    /// A skipped check counts as a failed one
    #[arg(long)]
    pub strict: bool,

    /// One JSON document instead of TAP
    #[arg(long)]
    pub json: bool,

    /// List the checks and stop
    #[arg(long)]
    pub list: bool,

    /// Use the device for so many milliseconds: what the concurrency checks start copies of this
    /// program with
    #[arg(long, hide = true, value_name = "MILLISECONDS")]
    pub hammer: Option<u64>,

    /// Read once, and a lot: what the checks that need the device to be busy start copies of this
    /// program with
    #[arg(long, hide = true)]
    pub read_once: bool,

    /// Time so many reads of 64 bytes: what the benchmark starts this program with
    #[arg(long, hide = true, value_name = "COUNT")]
    pub time_reads: Option<usize>,

    /// Access the registers so many times, as this number of a sequence says, and print the
    /// answers: what the tests that compare devices start this program with
    #[arg(long, hide = true, num_args = 2, value_names = ["SEQUENCE", "COUNT"])]
    pub replay: Option<Vec<u32>>,
}
