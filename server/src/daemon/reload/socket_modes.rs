//! Permissions of socket files, which change under connected guests.

use anyhow::{Context, Result};
use my_rng_server::config::Configuration;
use vfio_user_device::server::SocketPermissions;

use super::{Daemon, Names};

/// What was changed, to be changed back unless the reload succeeds.
#[derive(Default)]
pub(super) struct ChangedModes(Vec<(SocketPermissions, u32)>);

impl ChangedModes {
    /// The reload has succeeded.
    pub fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for ChangedModes {
    fn drop(&mut self) {
        for (file, before) in &self.0 {
            if let Err(error) = file.set(*before) {
                log::error!("cannot restore the permissions of a socket: {error}");
            }
        }
    }
}

impl Daemon {
    /// Gives the sockets of guests that go on their new permissions. Sockets that were passed to the
    /// daemon keep theirs.
    ///
    /// # Errors
    /// Another process has replaced or removed a socket's file; the others are as they were.
    pub(super) fn change_socket_modes(
        &self,
        new: &Configuration,
        going_on: &Names,
    ) -> Result<ChangedModes> {
        let mut changed = ChangedModes::default();
        for after in new.guests.iter().filter(|guest| going_on.contains(&guest.name)) {
            let Some(guest) = self.guests.get(&after.name) else { continue };
            let before = guest.configuration.socket_mode;
            let Some(file) = guest.permissions.as_ref().filter(|_| before != after.socket_mode)
            else {
                continue;
            };
            let set = file.set(after.socket_mode);
            set.with_context(|| format!("guest {:?}: cannot set its socket-mode", after.name))?;
            changed.0.push((file.clone(), before));
        }
        Ok(changed)
    }
}
