//! Checks a `my_rng` device and its driver from inside a guest.
//!
//! The result is printed as TAP (Test Anything Protocol, version 14), or as JSON for machines.
//! The exit status is 0 only when no check failed.

#![deny(unsafe_code)]

mod character_device;
mod checks;
mod cli;
mod expected;
mod reads;
mod replay;
mod report;

use anyhow::{Context as _, Result};
use clap::Parser;
use my_rng_tester::{pci, registers, sys};
use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    match run(&cli::Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("my-rng-tester: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// True when everything asked for is well.
fn run(options: &cli::Options) -> Result<bool> {
    if let Some(millis) = options.hammer {
        checks::concurrency::hammer(&options.device, Duration::from_millis(millis))?;
        return Ok(true);
    }
    if options.read_once {
        checks::readers::read_once(&options.device)?;
        return Ok(true);
    }
    if let Some(count) = options.time_reads {
        reads::time(&options.device, count)?;
        return Ok(true);
    }

    if let Some([sequence, count]) = options.replay.as_deref() {
        replay::run(function(options)?.as_ref(), *sequence, *count)?;
        return Ok(true);
    }

    let selected = checks::select(&options.only);
    if options.list {
        for (group, (name, _)) in selected {
            println!("{group:<12} {name}");
        }
        return Ok(true);
    }

    let subject = checks::Subject {
        device: options.device.clone(),
        pci: function(options)?,
        generator: options.generator,
    };
    let mut report = report::Report::new(options.json, selected.len());
    for (group, (name, run)) in selected {
        report.add(&group, name, run(&subject));
    }
    Ok(report.finish(options.strict))
}

/// The device's PCI function, when there is one.
fn function(options: &cli::Options) -> Result<Option<pci::Function>> {
    match &options.pci {
        Some(address) => pci::Function::at(address).map(Some),
        None => pci::find(&options.device).context("looking for the device in sysfs"),
    }
}
