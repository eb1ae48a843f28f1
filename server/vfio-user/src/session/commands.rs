//! The commands of a client, carried out on the device.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::io::Errno;
use zerocopy::{IntoBytes, Unalign};

use super::connection::{KEPT, MessageFds};
use super::request::{self, IrqAction, RequestError, UnmapRange};
use crate::dma::log_not_shared;
use crate::host::Host;
use crate::wire::{
    Command, DeviceFlags, DeviceInfo, DmaMapFlags, DmaUnmap, Header, IRQ_INDEX_COUNT, IrqInfo,
    MmapArea, REGION_COUNT, RegionFlags, RegionInfo, SparseMmapCapability,
};

/// What comes of a command.
pub(super) enum Answer {
    /// The reply that lies in the buffer.
    Reply,
    /// The same, with a file descriptor.
    ReplyWithFd(OwnedFd),
    /// The reply will be sent when an access to the memory is over.
    Later(DmaUnmap),
}

/// Carries commands out, one after the other.
pub(super) struct Commands<'h> {
    pub host: &'h mut Host,
    /// Whether a reply may have a file descriptor.
    pub client_takes_fds: bool,
    /// Payload of the reply that is being made; one allocation serves them all.
    reply: Vec<u8>,
    warned_of_private_memory: bool,
    warned_of_many_maps: bool,
}

impl<'h> Commands<'h> {
    pub fn new(host: &'h mut Host) -> Self {
        Commands {
            host,
            client_takes_fds: true,
            reply: Vec::new(),
            warned_of_private_memory: false,
            warned_of_many_maps: false,
        }
    }

    /// Payload of the reply to the last command.
    pub fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// The reply was sent.
    pub fn forget_reply(&mut self) {
        self.reply.clear();
        self.reply.shrink_to(KEPT);
    }

    /// Carries a command out; the payload of its reply is left in [`Commands::reply`].
    pub fn answer(
        &mut self,
        header: &Header,
        payload: &[u8],
        fds: MessageFds,
    ) -> Result<Answer, RequestError> {
        self.reply.clear();
        if !header.is_command() {
            return Err(RequestError::NotACommand(header.flags));
        }
        let command = Command::from_wire(header.command)
            .ok_or(RequestError::UnknownCommand(header.command))?;
        // Descriptors where none belong are closed when `fds` goes out of scope.
        match command {
            Command::Version => Err(RequestError::AlreadyNegotiated),
            Command::DmaMap => self.dma_map(payload, fds),
            Command::DmaUnmap => self.dma_unmap(payload),
            Command::DeviceGetInfo => self.device_info(payload),
            Command::DeviceGetRegionInfo => self.region_info(payload),
            Command::DeviceGetRegionIoFds => {
                request::region_io_fds(payload).map(|()| Answer::Reply)
            }
            Command::DeviceGetIrqInfo => self.irq_info(payload),
            Command::DeviceSetIrqs => self.set_irqs(payload, fds),
            Command::RegionRead => self.region_read(payload),
            Command::RegionWrite => self.region_write(payload),
            Command::RegionWriteMulti => self.region_write_multi(payload),
            Command::DeviceReset => {
                log::info!("device reset");
                self.host.reset();
                Ok(Answer::Reply)
            }
            Command::DeviceFeature => request::device_feature(payload).map(|()| Answer::Reply),
            Command::MigDataRead | Command::MigDataWrite => {
                request::migration_data(command, payload).map(|()| Answer::Reply)
            }
            Command::DmaRead | Command::DmaWrite => Err(RequestError::WrongDirection(command)),
        }
    }

    fn dma_map(&mut self, payload: &[u8], fds: MessageFds) -> Result<Answer, RequestError> {
        let map = request::dma_map(payload)?;
        fds.check_complete()?;
        let MessageFds { mut fds, too_many, .. } = fds;
        if too_many || fds.len() > 1 {
            return Err(RequestError::Fds { got: fds.len(), expected: 1 });
        }
        let file = fds.pop().filter(|_| map.mappable).map(|fd| (fd, map.offset));
        let by_message = file.is_none();
        let memory = &mut self.host.bus.memory;
        memory.map(map.address, map.size, map.access, file)?;
        let slow = !by_message && !memory.is_mapped(map.address) && !memory.is_private();
        if slow && !self.warned_of_many_maps {
            self.warned_of_many_maps = true;
            log::warn!(
                "guest memory at {:#x} is reached by slow messages: this guest has announced more \
                 regions, or larger ones, than the process can map for one of many",
                map.address
            );
        }
        let private = by_message && map.access.contains(DmaMapFlags::WRITE);
        if private && !self.warned_of_private_memory && !self.host.bus.memory.any_mapped() {
            self.warned_of_private_memory = true;
            log_not_shared(map.address, map.size);
        }
        Ok(Answer::Reply)
    }

    fn dma_unmap(&mut self, payload: &[u8]) -> Result<Answer, RequestError> {
        let (request, range) = request::dma_unmap(payload)?;
        let bus = &mut self.host.bus;
        let (address, size) = match range {
            UnmapRange::All => {
                bus.memory.clear();
                (0, u64::MAX)
            }
            UnmapRange::Region { address, size } => {
                if !bus.memory.unmap(address, size) {
                    return Err(RequestError::NotWholeRegions { address, size });
                }
                (address, size)
            }
        };
        if bus.dma.in_flight().is_some_and(|access| access.touches(address, size)) {
            return Ok(Answer::Later(request));
        }
        self.reply.extend_from_slice(request.as_bytes());
        Ok(Answer::Reply)
    }

    fn device_info(&mut self, payload: &[u8]) -> Result<Answer, RequestError> {
        request::device_info(payload)?;
        let info = DeviceInfo {
            argsz: wire_size::<DeviceInfo>(),
            flags: (DeviceFlags::RESET | DeviceFlags::PCI).bits(),
            num_regions: REGION_COUNT,
            num_irqs: IRQ_INDEX_COUNT,
        };
        self.reply.extend_from_slice(info.as_bytes());
        Ok(Answer::Reply)
    }

    /// Describes a region. A BAR that can be mapped comes with its file; if only parts of it can,
    /// a capability lists them, provided that the client has room for it.
    fn region_info(&mut self, payload: &[u8]) -> Result<Answer, RequestError> {
        let asked = request::region_info(payload)?;
        let size = self.host.region_size(asked.index);
        let mut info = RegionInfo {
            argsz: wire_size::<RegionInfo>(),
            flags: 0,
            index: asked.index,
            cap_offset: 0,
            size,
            offset: 0,
        };
        let mut flags = RegionFlags::empty();
        flags.set(RegionFlags::READ | RegionFlags::WRITE, size > 0);
        let mut file = None;
        let mut capability = Vec::new();
        if let Some(bar) = self.host.bar(asked.index).filter(|bar| !bar.mappable.is_empty()) {
            let whole = 0..bar.size;
            if bar.mappable != [whole] {
                capability = sparse_mmap(&bar.mappable);
                info.argsz += u32::try_from(capability.len()).unwrap_or(u32::MAX);
            }
            let shared = usize::try_from(asked.index)
                .ok()
                .and_then(|index| self.host.bus.shared_memory(index));
            if let Some(shared) =
                shared.filter(|_| self.client_takes_fds && asked.argsz >= info.argsz)
            {
                flags |= RegionFlags::MMAP;
                file = Some(shared.as_fd().try_clone_to_owned().map_err(errno_of)?);
                if !capability.is_empty() {
                    flags |= RegionFlags::CAPS;
                    info.cap_offset = wire_size::<RegionInfo>();
                }
            }
        }
        info.flags = flags.bits();
        self.reply.extend_from_slice(info.as_bytes());
        if flags.contains(RegionFlags::CAPS) {
            self.reply.extend_from_slice(&capability);
        }
        Ok(file.map_or(Answer::Reply, Answer::ReplyWithFd))
    }

    fn irq_info(&mut self, payload: &[u8]) -> Result<Answer, RequestError> {
        let index = request::irq_info(payload)?;
        let info = IrqInfo {
            argsz: wire_size::<IrqInfo>(),
            flags: index.flags().bits(),
            index: index as u32,
            count: self.host.bus.interrupts.count(index),
        };
        self.reply.extend_from_slice(info.as_bytes());
        Ok(Answer::Reply)
    }

    fn set_irqs(&mut self, payload: &[u8], fds: MessageFds) -> Result<Answer, RequestError> {
        let bus = &mut self.host.bus;
        let request = request::set_irqs(payload, &fds, |index| bus.interrupts.count(index))?;
        let (index, start) = (request.index, request.start as usize);
        match request.action {
            IrqAction::Disable => bus.interrupts.disable(index),
            IrqAction::Assign => {
                let none_left = std::iter::repeat_with(|| None);
                let fds = fds.fds.into_iter().map(Some).chain(none_left);
                let fds = fds.take(request.count as usize);
                bus.interrupts.assign(index, start, fds, &bus.config)?;
            }
            IrqAction::AssignUnmask => {
                bus.interrupts.assign_unmask(fds.fds.into_iter().next())?;
            }
            IrqAction::Trigger => {
                request.vectors().for_each(|vector| bus.interrupts.signal(index, vector));
            }
            IrqAction::Mask => {
                request.vectors().for_each(|vector| bus.interrupts.mask(index, vector));
            }
            IrqAction::Unmask => {
                let now = Instant::now();
                request.vectors().for_each(|vector| bus.interrupts.unmask(index, vector, now));
                bus.interrupts.masks_changed(&bus.config);
            }
        }
        Ok(Answer::Reply)
    }

    fn region_read(&mut self, payload: &[u8]) -> Result<Answer, RequestError> {
        let access = request::region_read(payload, |region| self.host.region_size(region))?;
        if access.count == 0 {
            return Ok(Answer::Reply);
        }
        self.reply.extend_from_slice(access.as_bytes());
        let start = self.reply.len();
        self.reply.resize(start + access.count as usize, 0);
        let data = self.reply.get_mut(start..).unwrap_or_default();
        self.host.read(access.region, access.offset, data);
        Ok(Answer::Reply)
    }

    fn region_write(&mut self, payload: &[u8]) -> Result<Answer, RequestError> {
        let (access, data) =
            request::region_write(payload, |region| self.host.region_size(region))?;
        if access.count == 0 {
            return Ok(Answer::Reply);
        }
        self.host.write(access.region, access.offset, data);
        self.reply.extend_from_slice(access.as_bytes());
        Ok(Answer::Reply)
    }

    fn region_write_multi(&mut self, payload: &[u8]) -> Result<Answer, RequestError> {
        let entries = request::region_write_multi(payload, |region| self.host.region_size(region))?;
        for entry in entries.iter().map(Unalign::get) {
            let data = entry.data.get(..entry.count as usize).unwrap_or_default();
            self.host.write(entry.region, entry.offset, data);
        }
        self.reply.extend_from_slice((entries.len() as u64).as_bytes());
        Ok(Answer::Reply)
    }
}

/// The capability that lists the mappable parts of a region.
fn sparse_mmap(parts: &[std::ops::Range<u64>]) -> Vec<u8> {
    let head = SparseMmapCapability {
        id: SparseMmapCapability::ID,
        version: SparseMmapCapability::VERSION,
        next: 0,
        nr_areas: u32::try_from(parts.len()).unwrap_or(u32::MAX),
        reserved: 0,
    };
    let areas =
        parts.iter().map(|part| MmapArea { offset: part.start, size: part.end - part.start });
    let areas: Vec<MmapArea> = areas.collect();
    [head.as_bytes(), areas.as_bytes()].concat()
}

/// Size of a wire structure as the protocol writes it.
fn wire_size<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

fn errno_of(error: io::Error) -> RequestError {
    RequestError::Os(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
