//! Daemons with a configuration file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::{BINARY, Daemon};

impl Daemon {
    /// A daemon with a configuration file, in which `FOLDER` is the daemon's folder.
    pub fn configured(text: &str) -> Self {
        Daemon::configured_with(text, &[])
    }

    /// The same with options beside the file.
    pub fn configured_with(text: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(BINARY);
        command.arg("--config").arg(write_configuration(folder.path(), text)).args(options);
        Daemon::launch(&mut command, folder)
    }

    /// Gives it another configuration, which is not read yet.
    pub fn configure(&self, text: &str) {
        write_configuration(self.folder.path(), text);
    }

    /// Its folder, for another one after it.
    pub fn take_folder(&mut self) -> TempDir {
        std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap())
    }
}

/// Writes a configuration file with the folder's path in the place of `FOLDER`; returns its path.
fn write_configuration(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("guests.toml");
    fs::write(&path, text.replace("FOLDER", folder.to_str().unwrap())).unwrap();
    path
}
