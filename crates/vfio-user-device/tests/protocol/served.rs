//! A server in this process.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use tempfile::TempDir;
use vfio_user_device::Device;
use vfio_user_device::server::{Options, Server};

use crate::common::{CONFIG, Client};
use crate::device::{ADDRESS, DOORBELL, Everything, FILL, LENGTH};

/// A device that is being served, until the value goes.
pub struct RunningServer {
    folder: TempDir,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl RunningServer {
    pub fn new(device: impl Device + 'static) -> Self {
        RunningServer::of(|path| Server::bind(path, device, Options::default()).unwrap())
    }

    /// A server that is made to listen at a path.
    pub fn of(server: impl FnOnce(&Path) -> Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = server(&folder.path().join("s"));
        let (stop, stopped) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || server.run(stopped.as_fd()).unwrap());
        RunningServer { folder, stop: Some(stop), thread: Some(thread) }
    }

    pub fn everything() -> Self {
        RunningServer::new(Everything::default())
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// A client that has agreed on a version.
    pub fn client(&self) -> Client {
        Client::negotiated(&self.path())
    }

    /// The same, with bus mastering on.
    pub fn bus_master(&self) -> Client {
        let mut client = self.client();
        enable_bus_master(&mut client);
        client
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

pub fn enable_bus_master(client: &mut Client) {
    client.write(CONFIG, 4, &[6, 0]);
}

/// Lets the device access guest memory.
pub fn ring(client: &mut Client, command: u32, address: u64, length: u32, fill: u8) {
    client.write(0, ADDRESS, &address.to_le_bytes());
    client.write_u32(0, LENGTH, length);
    client.write_u32(0, FILL, fill.into());
    client.write_u32(0, DOORBELL, command);
}
