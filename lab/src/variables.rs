//! The environment variables by which a user chooses. An empty one counts as one that is not set.

use std::ffi::OsString;

use anyhow::{Result, bail};

/// The value of a variable.
pub fn get(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The value of a variable, which has to be one of these.
pub fn one_of(name: &str, allowed: &[&'static str]) -> Result<Option<&'static str>> {
    let Some(value) = get(name) else { return Ok(None) };
    match allowed.iter().find(|allowed| value == **allowed) {
        Some(value) => Ok(Some(value)),
        None => bail!("{name}={}: choose {}", value.to_string_lossy(), allowed.join(" or ")),
    }
}

/// The generator of a teaching device that is for a person.
pub fn generator() -> Result<&'static str> {
    Ok(one_of("GENERATOR", &["glibc", "chacha20"])?.unwrap_or("glibc"))
}
