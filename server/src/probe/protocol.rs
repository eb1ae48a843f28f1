//! What the probe says and hears: the few vfio-user messages that a client needs.
//!
//! The specification is libvfio-user's `docs/vfio-user.rst`; where a message is a structure of the
//! kernel's, its layout and constants are the kernel's own.

use std::fmt::{self, Display, Formatter};
use std::mem::offset_of;
use std::ops::Range;

use vfio_bindings::bindings::vfio as uapi;
use vfio_user_client::message::{self, u16_at, u32_at, u64_at};

use super::region::{Region, RegionId, Register};

/// The longest reply that anything here has: a region with very many mappable areas.
pub const MAX_REPLY_LEN: u32 = 64 << 10;
/// Major and minor version that the probe speaks. Every server of major version 0 does.
pub const VERSION: [u16; 2] = [0, 0];

/// Limits that the probe has no need for, but that servers expect to be told.
const PROPOSAL: &[u8] = b"{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576}}\0";

/// Bytes of the structures that begin a payload.
const DEVICE_INFO: usize = 16;
const REGION_INFO: usize = size_of::<uapi::vfio_region_info>();
const IRQ_INFO: usize = 16;
const ACCESS: usize = 16;

/// What a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To agree on a version; the first one.
    Version,
    /// What the device is.
    DeviceInfo,
    /// What a region is, in an answer of so many bytes of payload at most.
    RegionInfo { region: u32, room: u32 },
    /// What an interrupt index is.
    IrqInfo { index: u32 },
    /// To read a register.
    Read(Register),
    /// To write the low bytes of a number to a register, little endian as PCI is.
    Write(Register, u64),
}

impl Request {
    /// The largest number of payload bytes that a [`Request::RegionInfo`] needs no second one for.
    pub const REGION_INFO_ROOM: u32 = 32;

    /// The command's number.
    pub fn command(&self) -> u16 {
        match self {
            Request::Version => message::VERSION,
            Request::DeviceInfo => message::GET_INFO,
            Request::RegionInfo { .. } => message::GET_REGION_INFO,
            Request::IrqInfo { .. } => message::GET_IRQ_INFO,
            Request::Read(_) => message::REGION_READ,
            Request::Write(..) => message::REGION_WRITE,
        }
    }

    /// The message without its header.
    pub fn payload(&self) -> Vec<u8> {
        match *self {
            Request::Version => message::version(VERSION[0], VERSION[1], PROPOSAL),
            Request::DeviceInfo => message::info(16),
            Request::RegionInfo { region, room } => message::region_info(room, region),
            Request::IrqInfo { index } => message::irq_info(16, index),
            Request::Read(Register { region, offset, width }) => {
                message::access(region.0, offset, width.bytes().into())
            }
            Request::Write(Register { region, offset, width }, value) => {
                let data = &value.to_le_bytes()[..width.bytes().into()];
                message::region_write(region.0, offset, data)
            }
        }
    }

    /// Bytes of payload that its answer has at least.
    pub fn least_payload(&self) -> usize {
        match self {
            Request::Version => 4,
            Request::DeviceInfo => DEVICE_INFO,
            Request::RegionInfo { .. } => REGION_INFO,
            Request::IrqInfo { .. } => IRQ_INFO,
            Request::Read(register) => ACCESS + usize::from(register.width.bytes()),
            Request::Write(..) => ACCESS,
        }
    }
}

/// The name in the specification, with what matters of the arguments.
impl Display for Request {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Request::Version => write!(f, "VERSION"),
            Request::DeviceInfo => write!(f, "DEVICE_GET_INFO"),
            Request::RegionInfo { region, .. } => {
                write!(f, "DEVICE_GET_REGION_INFO of {}", RegionId(*region))
            }
            Request::IrqInfo { index } => write!(f, "DEVICE_GET_IRQ_INFO of index {index}"),
            Request::Read(register) => write!(f, "REGION_READ of {register}"),
            Request::Write(register, _) => write!(f, "REGION_WRITE of {register}"),
        }
    }
}

/// The answer to [`Request::DeviceInfo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    pub flags: u32,
    pub regions: u32,
    pub irqs: u32,
}

impl DeviceInfo {
    pub fn decode(payload: &[u8]) -> Self {
        DeviceInfo {
            flags: u32_at(payload, offset_of!(uapi::vfio_device_info, flags)),
            regions: u32_at(payload, offset_of!(uapi::vfio_device_info, num_regions)),
            irqs: u32_at(payload, offset_of!(uapi::vfio_device_info, num_irqs)),
        }
    }
}

/// The answer to [`Request::RegionInfo`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionInfo {
    /// Bytes that the whole answer needs.
    pub room: u32,
    pub region: Region,
}

impl RegionInfo {
    /// Understands an answer; what makes no sense in the list of capabilities ends the list.
    pub fn decode(payload: &[u8]) -> Self {
        let word = |at| u32_at(payload, at);
        let flags = word(offset_of!(uapi::vfio_region_info, flags));
        let mut areas = Vec::new();
        let mut at = 0;
        if flags & uapi::VFIO_REGION_INFO_FLAG_CAPS != 0 {
            at = word(offset_of!(uapi::vfio_region_info, cap_offset)) as usize;
        }
        // The list leads forward, so that it ends.
        while at >= REGION_INFO && at < payload.len() {
            let id = u16_at(payload, at + offset_of!(uapi::vfio_info_cap_header, id));
            if u32::from(id) == uapi::VFIO_REGION_INFO_CAP_SPARSE_MMAP {
                areas.extend(sparse_areas(&payload[at..]));
            }
            let next = word(at + offset_of!(uapi::vfio_info_cap_header, next)) as usize;
            at = if next > at { next } else { 0 };
        }
        RegionInfo {
            room: word(offset_of!(uapi::vfio_region_info, argsz)),
            region: Region {
                size: u64_at(payload, offset_of!(uapi::vfio_region_info, size)),
                flags,
                areas,
            },
        }
    }
}

/// The areas of one capability, as many as there are bytes for.
fn sparse_areas(capability: &[u8]) -> Vec<Range<u64>> {
    type Head = uapi::vfio_region_info_cap_sparse_mmap;
    type Area = uapi::vfio_region_sparse_mmap_area;
    let count = u32_at(capability, offset_of!(Head, nr_areas)) as usize;
    let areas = capability.get(size_of::<Head>()..).unwrap_or_default();
    areas
        .chunks_exact(size_of::<Area>())
        .take(count)
        .map(|area| {
            let start = u64_at(area, offset_of!(Area, offset));
            start..start.saturating_add(u64_at(area, offset_of!(Area, size)))
        })
        .collect()
}

/// The number of interrupts in the answer to [`Request::IrqInfo`].
pub fn irq_count(payload: &[u8]) -> u32 {
    u32_at(payload, offset_of!(uapi::vfio_irq_info, count))
}

/// Major and minor version in the answer to [`Request::Version`].
pub fn version(payload: &[u8]) -> [u16; 2] {
    [u16_at(payload, 0), u16_at(payload, 2)]
}

/// The data in the answer to [`Request::Read`].
pub fn data(payload: &[u8]) -> &[u8] {
    payload.get(ACCESS..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::region::Width;

    /// Numbers in the host's byte order, as the protocol has them.
    fn words(numbers: &[u32]) -> Vec<u8> {
        numbers.iter().flat_map(|number| number.to_ne_bytes()).collect()
    }

    const CAPS: u32 = uapi::VFIO_REGION_INFO_FLAG_CAPS;

    /// A region with capabilities, the first of which is at 32.
    fn region(capabilities: &[u32]) -> Region {
        let head =
            [32 + 4 * u32::try_from(capabilities.len()).unwrap(), CAPS, 0, 32, 4096, 0, 0, 0];
        RegionInfo::decode(&words(&[&head, capabilities].concat())).region
    }

    /// The id and version of a sparse mmap capability.
    const SPARSE: u32 = 1 | 1 << 16;

    #[test]
    fn a_read_is_the_specifications() {
        let register = Register { region: RegionId::CONFIG, offset: 0x40, width: Width::FOUR };
        let request = Request::Read(register);
        assert_eq!((request.command(), request.payload()), (9, words(&[0x40, 0, 7, 4])));
    }

    #[test]
    fn a_write_carries_the_low_bytes() {
        let register = Register { region: RegionId(2), offset: 1, width: Width::TWO };
        let request = Request::Write(register, 0x1234);
        let expected = [&words(&[1, 0, 2, 2])[..], &[0x34, 0x12]].concat();
        assert_eq!((request.command(), request.payload()), (10, expected));
    }

    #[test]
    fn sparse_areas_are_found_behind_other_capabilities() {
        let info = region(&[2, 44, 0, SPARSE, 0, 2, 0, 0x1000, 0, 0x1000, 0, 0x4000, 0, 0x2000, 0]);
        assert_eq!(info.areas, [0x1000..0x2000, 0x4000..0x6000]);
        assert_eq!(info.size, 4096);
    }

    #[test]
    fn capabilities_that_lead_back_end_the_list() {
        let info = region(&[SPARSE, 32, 1, 0, 0, 0, 16, 0]);
        assert_eq!(info.areas, vec![0..16]);
    }

    #[test]
    fn capabilities_that_lead_out_end_the_list() {
        assert_eq!(region(&[SPARSE, u32::MAX, 0, 0]).areas, []);
        assert_eq!(region(&[]).areas, []);
    }

    #[test]
    fn only_areas_that_are_there_are_counted() {
        assert_eq!(region(&[SPARSE, 0, u32::MAX, 0, 8, 0, 8, 0]).areas, vec![8..16]);
        assert_eq!(region(&[SPARSE, 0]).areas, []);
    }

    #[test]
    fn nothing_is_read_from_too_few_bytes() {
        assert_eq!(RegionInfo::decode(&[]), RegionInfo::default());
    }
}
