//! The kernel's hardware RNG framework.

use super::{Check, Subject};
use crate::report::Outcome;
use anyhow::{Context as _, Result, ensure};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

pub const CHECKS: &[Check] =
    &[("the device is listed", listed), ("/dev/hwrng reads from it once chosen", chosen)];

const FRAMEWORK: &str = "/sys/class/misc/hw_random";

/// Whether the current one was chosen by a person.
const SELECTED: &str = "rng_selected";
const CURRENT: &str = "rng_current";

fn attribute(name: &str) -> Result<String> {
    let path = Path::new(FRAMEWORK).join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.trim().to_owned())
}

fn set_attribute(name: &str, value: &str) -> Result<()> {
    let path = Path::new(FRAMEWORK).join(name);
    fs::write(&path, format!("{value}\n")).with_context(|| path.display().to_string())
}

/// The framework's name of the device: numbered as the character device is.
fn name(subject: &Subject) -> Result<String> {
    let node = subject.device.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let number = node.strip_prefix("my_rng_driver").context("--device is no my_rng_driver")?;
    Ok(format!("my_rng.{}", if number.is_empty() { "0" } else { number }))
}

fn listed(subject: &Subject) -> Result<Outcome> {
    let name = name(subject)?;
    let available = attribute("rng_available")?;
    ensure!(available.split(' ').any(|other| other == name), "{name} is not among {available:?}");
    Ok(Outcome::Pass)
}

fn chosen(subject: &Subject) -> Result<Outcome> {
    let (name, before) = (name(subject)?, attribute(CURRENT)?);
    let by_person = attribute(SELECTED)? == "1";
    set_attribute(CURRENT, &name)?;
    let reading = read_hwrng(&name);
    // An empty name gives the choice back to the kernel.
    set_attribute(CURRENT, if by_person { &before } else { "" })?;
    reading
}

fn read_hwrng(name: &str) -> Result<Outcome> {
    let current = attribute(CURRENT)?;
    ensure!(current == name, "{CURRENT} is {current} instead of {name}");
    let mut bytes = [0; 256];
    File::open("/dev/hwrng").and_then(|mut file| file.read_exact(&mut bytes))?;
    ensure!(bytes.iter().any(|&byte| byte != bytes[0]), "all bytes are {:#x}", bytes[0]);
    Ok(Outcome::Pass)
}
