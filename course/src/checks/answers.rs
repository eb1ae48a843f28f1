//! Step 1: answers to questions about the device, in a TOML file.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use checker::profile::Profile;
use checker::stop::{Checked, Stop, ensure};
use lab::files;
use my_rng_model::generator::{Generator, Glibc};
use serde::Deserialize;

use super::Bench;
use crate::guests::{Device, SLOT};

/// What the student found out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Answers {
    vendor: u64,
    device: u64,
    revision: u64,
    bar0_address: u64,
    bar0_size: u64,
    first_number: u64,
}

/// Compares the answers with the profile, and with what a guest says about the address.
pub fn check(file: &Path, bench: &mut Bench<'_>) -> Checked {
    let answers: Answers = toml::from_str(&files::read_text(file)?).map_err(|error| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Stop::failed(format!("{name}: {error}").trim_end())
    })?;
    check_ids(&answers, &bench.profile)?;
    let address = bar0(bench)?;
    check_bar(&answers, &bench.profile, address)
}

/// Where BAR 0 is in a guest of this machine.
fn bar0(bench: &mut Bench<'_>) -> Result<u64, Stop> {
    let guest = bench.guests.with(&Device::Published)?;
    let said = guest.run(&format!("cut -d' ' -f1 {SLOT}/resource"), Duration::ZERO)?.text;
    let address = said.lines().next().and_then(|line| line.strip_prefix("0x"));
    let address = address.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Ok(address.with_context(|| format!("the guest says of its device's BARs: {said:?}"))?)
}

fn check_ids(answers: &Answers, profile: &Profile) -> Checked {
    let (vendor, device) = (profile.device.vendor.into(), profile.device.device.into());
    ensure((answers.vendor, answers.device) != (device, vendor), || {
        "vendor and device are the wrong way round: lspci shows vendor:device".to_owned()
    })?;
    ensure(answers.vendor != 0x1af4 && answers.device != 0x1100, || {
        "these are the ids of the subsystem; those of the device are in the first line, as lspci \
         -n -s 00:04.0 shows it"
            .to_owned()
    })?;
    is("vendor", answers.vendor, vendor, "lspci -n shows vendor:device")?;
    is("device", answers.device, device, "lspci -n shows vendor:device")?;
    let revision = u64::from(profile.device.revision.unwrap_or_default());
    ensure(answers.revision == revision, || {
        format!(
            "revision = {}: lspci prints it in hexadecimal, (rev 10); write 0x before it",
            answers.revision
        )
    })
}

fn check_bar(answers: &Answers, profile: &Profile, address: u64) -> Checked {
    is("bar0-address", answers.bar0_address, address, "lspci -v: Memory at ...")?;
    ensure(answers.bar0_size != 4, || "bar0-size: 4K are 4 times 1024 bytes".to_owned())?;
    let size = u64::try_from(profile.device.bar_size).unwrap_or(u64::MAX);
    is("bar0-size", answers.bar0_size, size, "lspci -v: [size=...]; in bytes")?;
    let mut numbers = Glibc::from_seed(1);
    let (first, second) = (u64::from(numbers.next_u32()), u64::from(numbers.next_u32()));
    ensure(answers.first_number != second, || {
        "first-number is the second number: write the seed again and read RANDOM once".to_owned()
    })?;
    is("first-number", answers.first_number, first, "seed with 1 first, then read RANDOM once")
}

fn is(name: &str, answer: u64, wanted: u64, look: &str) -> Checked {
    ensure(answer == wanted, || format!("{name} = {answer:#x} is not right; look at: {look}"))
}
