//! `cross-cargo`: runs cargo for the processors of another machine, as `scripts/soak.sh ports` does.
//! Tests run on an emulated processor.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Parser;
use lab::{Arch, cross_cargo, interruption};

/// Run cargo for another architecture, with the compilers of the lab's own root for it
#[derive(Debug, Parser)]
struct Options {
    /// The architecture
    #[arg(long, value_enum, value_name = "ARCH", required_unless_present = "check")]
    arch: Option<Arch>,

    /// How many bytes the pages of the emulated processor have, such as 65536
    #[arg(long, value_name = "BYTES", default_value_t = 4096, conflicts_with = "check")]
    page_size: u32,

    /// Only check that packages compile, for an architecture that the lab has no guests of
    #[arg(long, value_name = "ARCH", conflicts_with = "arch", value_parser = ["riscv64"])]
    check: Option<String>,

    /// Cargo's arguments, such as: test --package vfio-user-device; with --check those of `cargo check`
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("cross-cargo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<bool> {
    interruption::end_on_signals(|| ())?;
    let Some(arch) = options.arch else {
        return Ok(cross_cargo::check_riscv64(&options.arguments)?.success());
    };
    ensure!(arch.is_foreign(), "this machine is {arch}: use cargo itself");
    Ok(cross_cargo::run(arch, options.page_size, &options.arguments)?.success())
}
