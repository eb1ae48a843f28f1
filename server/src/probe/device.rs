//! The device behind a socket: its regions, interrupts and registers.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure};
use vfio_bindings::bindings::vfio as uapi;
use vfio_user_client::message::HEADER_LEN;

use super::connection::{Connection, RequestError};
use super::protocol::{self, DeviceInfo, MAX_REPLY_LEN, Request};
use super::region::{Region, RegionId, Register};

/// Regions or interrupt indexes that a device may have before the probe believes no word.
const MAX_INDEXES: u32 = 256;

/// A device, and the connection to it.
#[derive(Debug)]
pub struct Device {
    connection: Connection,
    info: DeviceInfo,
    regions: Vec<Region>,
}

impl Device {
    /// Connects to a server and asks what it has.
    ///
    /// # Errors
    /// No server listens, it does not reply properly, or its device is not on the PCI bus.
    pub fn open(path: &Path, timeout: Duration) -> anyhow::Result<Self> {
        let mut connection = Connection::open(path, timeout)?;
        let info = DeviceInfo::decode(&connection.ask(&Request::DeviceInfo)?);
        ensure!(
            info.flags & uapi::VFIO_DEVICE_FLAGS_PCI != 0,
            "{}: its device is not a PCI device (flags {:#x})",
            path.display(),
            info.flags
        );
        for (what, count) in [("regions", info.regions), ("interrupt indexes", info.irqs)] {
            ensure!(count <= MAX_INDEXES, "{}: it announces {count} {what}", path.display());
        }
        let regions = (0..info.regions)
            .map(|index| region(&mut connection, index))
            .collect::<Result<_, _>>()?;
        Ok(Device { connection, info, regions })
    }

    /// What there is of a region.
    pub fn region(&self, id: RegionId) -> Region {
        let index = usize::try_from(id.0).unwrap_or(usize::MAX);
        self.regions.get(index).cloned().unwrap_or_default()
    }

    /// All regions that have a size.
    pub fn regions(&self) -> Vec<(RegionId, Region)> {
        let all = (0..).map(RegionId).zip(self.regions.iter().cloned());
        all.filter(|(_, region)| region.size != 0).collect()
    }

    /// Whether the device can be reset.
    pub fn can_be_reset(&self) -> bool {
        self.info.flags & uapi::VFIO_DEVICE_FLAGS_RESET != 0
    }

    /// The number of interrupts of each index; nothing where the server rejects the request.
    ///
    /// # Errors
    /// The connection fails.
    pub fn irqs(&mut self) -> Result<Vec<Option<u32>>, RequestError> {
        let count = |index| {
            let payload = answer_if_any(self.connection.ask(&Request::IrqInfo { index }))?;
            Ok(payload.map(|payload| protocol::irq_count(&payload)))
        };
        (0..self.info.irqs).map(count).collect()
    }

    /// Checks that so many bytes are in a region.
    ///
    /// # Errors
    /// They are not; the message names them.
    pub fn check(&self, id: RegionId, offset: u64, length: u64) -> anyhow::Result<()> {
        let size = self.region(id).size;
        if size == 0 {
            bail!("the device has no {id}; without a command, probe shows what it has");
        }
        ensure!(
            offset.checked_add(length).is_some_and(|end| end <= size),
            "{length} bytes at offset {offset:#x} go past the end of {id}, whose size is {size:#x}"
        );
        Ok(())
    }

    /// Checks that the device has a register.
    ///
    /// # Errors
    /// It lies beyond the end.
    pub fn check_register(&self, register: Register) -> anyhow::Result<()> {
        self.check(register.region, register.offset, register.width.bytes().into())
    }

    /// Reads a register, little endian as PCI is.
    ///
    /// # Errors
    /// The server rejects the access, or the connection fails.
    pub fn read(&mut self, register: Register) -> Result<u64, RequestError> {
        let payload = self.connection.ask(&Request::Read(register))?;
        let mut bytes = [0; 8];
        let width = usize::from(register.width.bytes());
        for (byte, read) in bytes.iter_mut().zip(protocol::data(&payload)).take(width) {
            *byte = *read;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    /// Writes the low bytes of a value to a register.
    ///
    /// # Errors
    /// The server rejects the access, or the connection fails.
    pub fn write(&mut self, register: Register, value: u64) -> Result<(), RequestError> {
        self.connection.ask(&Request::Write(register, value))?;
        Ok(())
    }
}

/// Asks for a region. One that the server does not describe is one that the device does not have.
fn region(connection: &mut Connection, index: u32) -> Result<Region, RequestError> {
    let mut ask = |room| {
        let request = Request::RegionInfo { region: index, room };
        let payload = answer_if_any(connection.ask(&request))?;
        Ok(payload.map(|payload| protocol::RegionInfo::decode(&payload)))
    };
    let Some(mut info) = ask(Request::REGION_INFO_ROOM)? else {
        return Ok(Region::default());
    };
    if info.room > Request::REGION_INFO_ROOM {
        let most = MAX_REPLY_LEN - HEADER_LEN;
        info = ask(info.room.min(most))?.unwrap_or(info);
    }
    Ok(info.region)
}

/// An answer; nothing if it is a refusal.
fn answer_if_any<T>(answer: Result<T, RequestError>) -> Result<Option<T>, RequestError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if error.is_refusal() => Ok(None),
        Err(error) => Err(error),
    }
}
