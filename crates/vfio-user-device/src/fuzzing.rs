//! For the fuzz targets: a PCI function and a session that never wait. No part of the API.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use crate::device::Device;
use crate::pci::function::OnPanic;
use crate::session::{ClientLink, Session};
use crate::state::StateError;
use crate::test_bench::TestBench;

/// Number of the region that is configuration space.
pub const CONFIG_REGION: u32 = crate::protocol::wire::CONFIG_REGION;

/// A device with PCI around it.
#[derive(Debug)]
pub struct PciFunction(crate::pci::function::PciFunction);

impl PciFunction {
    /// # Panics
    /// The device's configuration is invalid.
    pub fn new(device: impl Device + 'static) -> Self {
        let function = crate::pci::function::PciFunction::new(Box::new(device), OnPanic::Propagate);
        PciFunction(function.expect("a possible device"))
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
        let mut session =
            Session::new(ClientLink::new(Arc::new(socket)), &mut self.0, Duration::ZERO);
        client(&mut || session.poll().is_ok());
        drop(session);
        self.0.disconnect();
    }
}

/// Moves the guest on a bench to another device as [`TestBench::migrate`] does, by a client that hands
/// over another state than it was given.
///
/// # Errors
/// As there.
pub fn migrate_with(
    bench: &mut TestBench,
    device: impl Device + 'static,
    change: impl FnOnce(Vec<u8>) -> Vec<u8>,
) -> Result<(), StateError> {
    bench.migrate_with(device, change)
}
