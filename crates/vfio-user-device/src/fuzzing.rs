//! Doors for the fuzz targets: a host and a session that never wait. No part of the interface.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::device::Device;
use crate::host::OnPanic;
use crate::session::Session;

/// Number of the region that is configuration space.
pub const CONFIG_REGION: u32 = crate::wire::CONFIG_REGION;

/// A device with PCI around it.
#[derive(Debug)]
pub struct Host(crate::host::Host);

impl Host {
    /// # Panics
    /// The device's description is impossible.
    pub fn new(device: impl Device + 'static) -> Self {
        let host = crate::host::Host::new(Box::new(device), OnPanic::Propagate);
        Host(host.expect("a possible device"))
    }

    /// Size of a region in bytes.
    pub fn region_size(&self, region: u32) -> u64 {
        self.0.region_size(region)
    }

    /// Reads from a region; the range has to lie within it.
    pub fn read(&mut self, region: u32, offset: u64, data: &mut [u8]) {
        self.0.read(region, offset, data);
    }

    /// Writes to a region; the range has to lie within it.
    pub fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        self.0.write(region, offset, data);
    }

    /// Resets the device.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Serves a client for as long as `client` runs. The function that it is given does all that
    /// can be done without waiting, and returns false once the connection has ended.
    pub fn serve(&mut self, socket: OwnedFd, client: impl FnOnce(&mut dyn FnMut() -> bool)) {
        let mut session = Session::new(Arc::new(socket), &mut self.0, Duration::ZERO);
        client(&mut || session.poll().is_ok());
        drop(session);
        self.0.disconnect();
    }
}
