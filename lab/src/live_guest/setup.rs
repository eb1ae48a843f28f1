//! What a live guest is to be like, and its devices.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::{Choice, RunDir, Server, cargo_build, variables};

/// What a live guest is to be like.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Its kernel.
    pub kernel: Choice,
    /// The program of the device; the teaching device if not said.
    pub program: Option<PathBuf>,
    /// Whether everything waits for a device that a debugger has stopped.
    pub debug: bool,
    /// Whether its console is for a person ([`Guest::console`]).
    pub console: bool,
    /// How many devices there are beside the one that is exchanged.
    pub others: u16,
    /// What it gets from the host.
    pub files: Files,
    /// Where the device is recorded, if it is: later ones beside it.
    pub record: Option<PathBuf>,
}

impl Setup {
    /// The recording of a device: the first one has the name that was given, the second one the same
    /// with `.2`.
    pub(super) fn recording(&self, number: u32) -> Option<PathBuf> {
        let file = self.record.as_ref()?;
        if number == 1 {
            return Some(file.clone());
        }
        let mut name = file.clone().into_os_string();
        name.push(format!(".{number}"));
        Some(name.into())
    }
}

/// Paths in the guest, and whose files of the host they are.
pub type Files = Vec<(String, PathBuf)>;

/// Starts a device: that of a program, or the teaching device.
pub(super) fn start<'run>(
    run: &'run RunDir,
    name: &str,
    program: Option<&Path>,
    debug: bool,
    record: Option<PathBuf>,
) -> Result<Server<'run>> {
    let mut options = vec!["-vv"];
    if let Some(file) = &record {
        options.extend(["--record", file.to_str().context("--record: a path in UTF-8 is needed")?]);
    }
    let device = match program {
        Some(program) => Server::start_program(run, name, program, &options)?,
        None => {
            options.extend(["--generator", variables::generator()?]);
            Server::start_program(run, name, &cargo_build::server()?, &options)?
        }
    };
    Ok(if debug { device.debugged() } else { device })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_devices_are_recorded_beside_the_first_one() {
        let setup = Setup { record: Some("/tmp/a.rec".into()), ..Setup::default() };
        assert_eq!(setup.recording(1), Some("/tmp/a.rec".into()));
        assert_eq!(setup.recording(2), Some("/tmp/a.rec.2".into()));
        assert_eq!(Setup::default().recording(1), None);
    }
}
