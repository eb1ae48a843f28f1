//! The state file: what devices are like at the planned end of the daemon, for its next start.
//!
//! It is written once, when the daemon is told to end, and used once: it is removed when the next daemon
//! serves, so that no number is given out twice. A file that cannot be used is renamed, not overwritten.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use vfio_user_device::DeviceState;

use super::whole_file::{read, set_aside, write_atomically};

/// The layout of the file that is written and understood.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// By name.
    guests: BTreeMap<String, GuestDevice>,
}

/// A guest's device.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct GuestDevice {
    /// Its name, as on the command line.
    device: String,
    state: DeviceState,
}

/// The states that the last daemon has left.
#[derive(Debug, Default)]
pub struct StateFile {
    path: Option<PathBuf>,
    guests: BTreeMap<String, GuestDevice>,
    /// A guest cannot use its state.
    unusable: bool,
}

impl StateFile {
    /// Reads the file at a path. One that is not there is as good as an empty one; one that cannot be
    /// understood is set aside and reported.
    ///
    /// # Errors
    /// It cannot be read, or cannot be set aside.
    pub fn load(path: Option<PathBuf>) -> Result<Self> {
        let Some(file) = path.as_deref() else { return Ok(StateFile::default()) };
        let Some(text) = read(file)? else { return Ok(StateFile { path, ..StateFile::default() }) };
        let guests = match understand(&text) {
            Ok(guests) => guests,
            Err(reason) => {
                report(file, &format!("cannot be understood ({reason:#})"))?;
                BTreeMap::new()
            }
        };
        Ok(StateFile { path, guests, unusable: false })
    }

    /// The file of a daemon that takes another one's place: states come from there.
    pub fn unread(path: Option<PathBuf>) -> Self {
        StateFile { path, ..StateFile::default() }
    }

    /// The state for a guest's device, if there is one of the same kind. It is given once.
    pub fn take(&mut self, guest: &str, device: &str) -> Option<DeviceState> {
        let found = self.guests.remove(guest)?;
        if found.device == device {
            return Some(found.state);
        }
        self.reject(guest, &format!("it is of {}, and the guest has {device}", found.device));
        None
    }

    /// Reports a state that a device cannot use.
    pub fn reject(&mut self, guest: &str, reason: &str) {
        log::error!(
            "guest {guest:?} starts anew, its state in the state file is of no use: {reason}"
        );
        self.unusable = true;
    }

    /// The daemon serves: what was in the file is used now.
    ///
    /// # Errors
    /// The file can neither be removed nor set aside: it would be used once more.
    pub fn consume(&mut self) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        if self.unusable {
            return report(path, "has states that no device can use");
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes the states of the guests' devices: name, device, state.
    ///
    /// # Errors
    /// The folder is not there, or full, or not ours to write to.
    pub fn store(
        &self,
        states: impl IntoIterator<Item = (String, &'static str, DeviceState)>,
    ) -> Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let guests = states
            .into_iter()
            .map(|(name, device, state)| (name, GuestDevice { device: device.into(), state }))
            .collect();
        write_atomically(path, &Content { version: VERSION, guests })
            .with_context(|| format!("cannot write the state file {}", path.display()))
    }

    /// Whether there is one.
    pub fn is_used(&self) -> bool {
        self.path.is_some()
    }
}

fn understand(text: &[u8]) -> Result<BTreeMap<String, GuestDevice>> {
    let Content { version, guests } = serde_json::from_slice(text)?;
    ensure!(version == VERSION, "its version is {version}, and {VERSION} is known");
    Ok(guests)
}

fn report(path: &Path, what: &str) -> Result<()> {
    let aside = set_aside(path)?;
    log::error!("the state file {} {what}; it is {} now", path.display(), aside.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(number: u32) -> DeviceState {
        DeviceState::of(&number).unwrap()
    }

    #[test]
    fn a_state_is_given_once_to_the_guest_that_it_is_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("states");
        let file = StateFile::load(Some(path.clone())).unwrap();
        file.store([("a".into(), "my-rng", state(1)), ("b".into(), "my-rng", state(2))]).unwrap();
        let mut file = StateFile::load(Some(path.clone())).unwrap();
        assert_eq!(file.take("a", "my-rng"), Some(state(1)));
        assert_eq!(file.take("a", "my-rng"), None);
        file.consume().unwrap();
        assert!(!path.exists(), "it is not used a second time");
    }

    #[test]
    fn what_cannot_be_used_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("states");
        for text in ["", "{\"version\":2,\"guests\":{}}", "{\"version\":1}"] {
            std::fs::write(&path, text).unwrap();
            StateFile::load(Some(path.clone())).unwrap();
            assert!(!path.exists(), "{text}");
        }
        assert!(folder.path().join("states.bad3").exists());
        let file = StateFile::load(Some(path.clone())).unwrap();
        file.store([("a".into(), "my-rng", state(1))]).unwrap();
        let mut file = StateFile::load(Some(path.clone())).unwrap();
        assert_eq!(file.take("a", "virtio-rng"), None);
        file.consume().unwrap();
        assert!(!path.exists() && folder.path().join("states.bad4").exists());
    }
}
