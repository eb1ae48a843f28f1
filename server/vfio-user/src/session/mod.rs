//! One client's connection, from VERSION to its end.
//!
//! A session is a loop of one thread: wait for whatever comes first (a message, a timer, a reply
//! to a DMA message), act, wait again. When nothing but the client can wake it, the wait is the
//! recvmsg(2) itself, so that a register read costs two system calls: that one and the sendmsg(2)
//! of the answer.

mod connection;
mod request;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use zerocopy::{FromBytes, IntoBytes};

pub(crate) use connection::ConnectionError;
use connection::{Connection, Message, MessageFds};
use request::{IrqAction, RequestError, UnmapRange};

use crate::dma::{InFlight, Step};
use crate::host::Host;
use crate::wire::{
    Capabilities, Command, DeviceFlags, DeviceInfo, DmaUnmap, HEADER_SIZE, Header, HeaderFlags,
    IRQ_INDEX_COUNT, IrqInfo, MAX_DATA_SIZE, MmapArea, REGION_COUNT, RegionFlags, RegionInfo,
    SparseMmapCapability, VERSION_MAJOR, VERSION_MINOR, Version, parse_version_data, version_data,
};

/// How long a client may take to say which version it speaks.
const NEGOTIATION_TIME: Duration = Duration::from_secs(5);
/// Steps of DMA after which the client gets its turn, however much its device still has to copy.
const DMA_STEPS: usize = 64;
/// How long a DMA_UNMAP waits for the client's own answer to an access of that memory.
///
/// The specification wants accesses to be over before the answer. QEMU cannot answer the access
/// while it waits for the unmap (both need its big lock), so the wait has to end before QEMU gives
/// the device up, which it does after 5 s.
const UNMAP_GRACE: Duration = Duration::from_millis(100);
/// Longest reply that is kept allocated for the next one, in bytes.
const KEPT_REPLY: usize = 64 << 10;

/// What a client has agreed to.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Most bytes of data in a message to the client.
    data: usize,
}

/// What comes of a request.
enum Answer {
    /// The reply that lies in the buffer.
    Reply,
    /// The same, with a file descriptor.
    ReplyWithFd(OwnedFd),
    /// The reply will be sent when an access to the memory is over.
    Later(DmaUnmap),
}

/// A DMA_UNMAP whose answer waits.
struct DeferredUnmap {
    header: Header,
    request: DmaUnmap,
    access: InFlight,
    give_up: Instant,
}

/// A client and the device that it is connected to.
pub(crate) struct Session<'h> {
    connection: Connection,
    /// The second socket, for commands of the server, if it was agreed on.
    twin: Option<Connection>,
    state: State<'h>,
    busy_poll: Duration,
}

/// A session without its sockets.
struct State<'h> {
    host: &'h mut Host,
    limits: Limits,
    /// Payload of the reply that is being made.
    reply: Vec<u8>,
    deferred_unmap: Option<DeferredUnmap>,
    warned_of_private_memory: bool,
}

impl<'h> Session<'h> {
    /// Takes a connected client over. `busy_poll` is how long to ask for the next message again
    /// and again before going to sleep.
    pub fn new(socket: Arc<OwnedFd>, host: &'h mut Host, busy_poll: Duration) -> Self {
        Session {
            connection: Connection::new(socket),
            twin: None,
            state: State {
                host,
                limits: Limits {
                    data: MAX_DATA_SIZE,
                },
                reply: Vec::new(),
                deferred_unmap: None,
                warned_of_private_memory: false,
            },
            busy_poll,
        }
    }

    /// Serves the client until the connection ends, and says why it did. Whatever belonged to the
    /// client is gone then.
    pub fn run(mut self) -> ConnectionError {
        let end = match self.negotiate() {
            Ok(()) => self.serve(),
            Err(end) => Err(end),
        };
        self.state.host.disconnect();
        match end {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    /// The first message has to be VERSION.
    fn negotiate(&mut self) -> Result<(), ConnectionError> {
        let deadline = Instant::now() + NEGOTIATION_TIME;
        loop {
            let late = || ConnectionError::Negotiation("the client said nothing for 5 s".into());
            if Instant::now() >= deadline {
                return Err(late());
            }
            self.wait(Some(deadline))?;
            let Some(message) = self.connection.receive(RecvFlags::DONTWAIT)? else {
                continue;
            };
            let header = message.header;
            let agreed = negotiate_version(&header, message.payload, &message.fds);
            let refusal = match agreed {
                Ok((version, proposed)) => match self.agree(&header, version, &proposed) {
                    Err(ConnectionError::Io(errno)) => format!("twin socket: {errno}"),
                    result => return result,
                },
                Err(reason) => reason,
            };
            if header.wants_reply() {
                self.connection
                    .send(&error_header(&header, Errno::INVAL), [&[], &[]], None)?;
            }
            return Err(ConnectionError::Negotiation(refusal));
        }
    }

    /// Answers VERSION and keeps what was agreed on.
    fn agree(
        &mut self,
        header: &Header,
        version: Version,
        proposed: &Capabilities,
    ) -> Result<(), ConnectionError> {
        let client_end = if proposed
            .twin_socket
            .as_ref()
            .is_some_and(|twin| twin.supported)
        {
            let (ours, theirs) = socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )?;
            self.twin = Some(Connection::new(Arc::new(ours)));
            Some(theirs)
        } else {
            None
        };
        let json = version_data(proposed, client_end.is_some())
            .map_err(|error| ConnectionError::Negotiation(error.to_string()))?;
        let client_data = proposed.max_data_xfer_size.unwrap_or(MAX_DATA_SIZE as u64);
        self.state.limits.data = usize::try_from(client_data)
            .unwrap_or(MAX_DATA_SIZE)
            .min(MAX_DATA_SIZE);
        let payload = [version.as_bytes(), json.as_slice()];
        let reply = reply_header(header, payload[0].len() + payload[1].len());
        self.connection
            .send(&reply, payload, client_end.as_ref().map(AsFd::as_fd))?;
        log::info!(
            "client speaks version {}.{}{}",
            version.major,
            version.minor,
            if self.twin.is_some() {
                ", with a twin socket"
            } else {
                ""
            }
        );
        Ok(())
    }

    /// The loop.
    fn serve(&mut self) -> Result<std::convert::Infallible, ConnectionError> {
        loop {
            self.advance()?;
            if self.woken_by_client_only() {
                self.serve_next()?;
            } else {
                self.serve_whatever_comes_first()?;
            }
        }
    }

    /// Whether nothing but a message on the main socket can give the session something to do.
    fn woken_by_client_only(&self) -> bool {
        let bus = &self.state.host.bus;
        bus.timer.is_none()
            && !bus.dma.is_ready()
            && self.state.deferred_unmap.is_none()
            && bus.interrupts.unmask_fd().is_none()
            && (self.twin.is_none() || bus.dma.in_flight().is_none())
    }

    /// Waits for the next message in recvmsg(2) and answers it.
    fn serve_next(&mut self) -> Result<(), ConnectionError> {
        if !self.busy_poll.is_zero() {
            let sleep = Instant::now() + self.busy_poll;
            while Instant::now() < sleep {
                if self.serve_message(RecvFlags::DONTWAIT)? {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
        }
        self.serve_message(RecvFlags::empty())?;
        Ok(())
    }

    /// Waits for a message, the twin socket, an unmasked pin or a deadline.
    fn serve_whatever_comes_first(&mut self) -> Result<(), ConnectionError> {
        let bus = &self.state.host.bus;
        let unmap = self
            .state
            .deferred_unmap
            .as_ref()
            .map(|unmap| unmap.give_up);
        let now = bus.dma.is_ready().then(Instant::now);
        let deadline = [bus.timer, unmap, now].into_iter().flatten().min();
        self.wait(deadline)?;
        let bus = &mut self.state.host.bus;
        bus.interrupts.unmask_signalled(&bus.config);
        self.serve_twin()?;
        self.serve_message(RecvFlags::DONTWAIT)?;
        Ok(())
    }

    /// Sleeps until a descriptor is readable or the deadline is there.
    fn wait(&self, deadline: Option<Instant>) -> Result<(), ConnectionError> {
        if self.connection.has_buffered_bytes() {
            return Ok(());
        }
        let timeout = deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .and_then(|left| Timespec::try_from(left).ok());
        let main = self.connection.as_fd();
        let twin = self.twin.as_ref().map(Connection::as_fd);
        let unmask = self.state.host.bus.interrupts.unmask_fd();
        let in_place_of_none = |fd: Option<_>| fd.unwrap_or(main);
        let mut fds = [main, in_place_of_none(twin), in_place_of_none(unmask)]
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Receives one message on the main socket and answers it. Returns false if there is none.
    fn serve_message(&mut self, flags: RecvFlags) -> Result<bool, ConnectionError> {
        let Some(message) = self.connection.receive(flags)? else {
            return Ok(false);
        };
        let header = message.header;
        log::trace!(
            "{} bytes from the client: {header:x?}",
            message.payload.len()
        );
        if header.is_reply() {
            // With a twin socket no reply belongs here.
            let expected =
                self.twin.is_none() && self.state.host.bus.dma.reply(&header, message.payload);
            if !expected {
                log::warn!("ignored a reply that nobody asked for: {header:x?}");
            }
            return Ok(true);
        }
        let answer = self.state.answer(&header, message.payload, message.fds);
        self.send_answer(header, answer)?;
        Ok(true)
    }

    /// Takes replies from the twin socket.
    fn serve_twin(&mut self) -> Result<(), ConnectionError> {
        let Some(twin) = &mut self.twin else {
            return Ok(());
        };
        while let Some(message) = twin.receive(RecvFlags::DONTWAIT)? {
            let header = message.header;
            let expected =
                header.is_reply() && self.state.host.bus.dma.reply(&header, message.payload);
            if !expected {
                log::warn!("ignored an unexpected message on the twin socket: {header:x?}");
            }
        }
        Ok(())
    }

    fn send_answer(
        &mut self,
        header: Header,
        answer: Result<Answer, RequestError>,
    ) -> Result<(), ConnectionError> {
        let reply = &mut self.state.reply;
        match answer {
            Ok(Answer::Later(request)) => {
                if let Some(access) = self.state.host.bus.dma.in_flight() {
                    let give_up = Instant::now() + UNMAP_GRACE;
                    let unmap = DeferredUnmap {
                        header,
                        request,
                        access,
                        give_up,
                    };
                    self.state.deferred_unmap = Some(unmap);
                }
            }
            Ok(_) if !header.wants_reply() => {}
            Ok(Answer::Reply) => {
                self.connection
                    .send(&reply_header(&header, reply.len()), [reply, &[]], None)?;
            }
            Ok(Answer::ReplyWithFd(fd)) => {
                let head = reply_header(&header, reply.len());
                self.connection
                    .send(&head, [reply, &[]], Some(fd.as_fd()))?;
            }
            Err(error) => {
                let name = Command::from_wire(header.command);
                let name = name.map_or("message".into(), |command| format!("{command:?}"));
                log::info!("refused {name} {}: {error} ({})", header.id, error.errno());
                if header.wants_reply() {
                    let head = error_header(&header, error.errno());
                    self.connection.send(&head, [&[], &[]], None)?;
                }
            }
        }
        reply.clear();
        reply.shrink_to(KEPT_REPLY);
        Ok(())
    }

    /// Does what is due without any message: the timer, DMA, unmaps that have waited long enough.
    fn advance(&mut self) -> Result<(), ConnectionError> {
        let host = &mut *self.state.host;
        if host.bus.timer.is_some_and(|due| due <= Instant::now()) {
            host.timer();
        }
        for _ in 0..DMA_STEPS {
            if !self.state.host.bus.dma.is_ready() {
                break;
            }
            self.step_dma()?;
        }
        self.finish_deferred_unmap()
    }

    fn step_dma(&mut self) -> Result<(), ConnectionError> {
        let bus = &mut self.state.host.bus;
        let bus_master = bus.config.bus_master();
        match bus
            .dma
            .step(&bus.memory, bus_master, self.state.limits.data)
        {
            Step::Idle => Ok(()),
            Step::Done(done) => {
                self.state.host.dma_done(done);
                Ok(())
            }
            Step::Send(message) => {
                let payload = [message.access.as_bytes(), message.data];
                let size = HEADER_SIZE + payload[0].len() + payload[1].len();
                let header = Header {
                    id: message.id,
                    command: message.command as u16,
                    size: u32::try_from(size).unwrap_or(u32::MAX),
                    flags: 0,
                    error: 0,
                };
                self.twin
                    .as_ref()
                    .unwrap_or(&self.connection)
                    .send(&header, payload, None)
            }
        }
    }

    /// Answers a DMA_UNMAP that waited, if the access that it waited for is over or has taken too
    /// long.
    fn finish_deferred_unmap(&mut self) -> Result<(), ConnectionError> {
        let Some(unmap) = &self.state.deferred_unmap else {
            return Ok(());
        };
        if self.state.host.bus.dma.in_flight() == Some(unmap.access) {
            if Instant::now() < unmap.give_up {
                return Ok(());
            }
            log::info!("gave up an access to memory that the client takes back");
            if let Some(done) = self.state.host.bus.dma.abandon_in_flight() {
                self.state.host.dma_done(done);
            }
        }
        if let Some(DeferredUnmap {
            header, request, ..
        }) = self.state.deferred_unmap.take()
        {
            if header.wants_reply() {
                let payload = request.as_bytes();
                self.connection.send(
                    &reply_header(&header, payload.len()),
                    [payload, &[]],
                    None,
                )?;
            }
        }
        Ok(())
    }
}

impl State<'_> {
    /// Carries a request out; the reply's payload is left in `self.reply`.
    fn answer(
        &mut self,
        header: &Header,
        payload: &[u8],
        fds: MessageFds,
    ) -> Result<Answer, RequestError> {
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
            Command::MigDataRead | Command::MigDataWrite => Err(RequestError::NotOffered(command)),
            Command::DmaRead | Command::DmaWrite => Err(RequestError::WrongDirection(command)),
        }
    }

    fn dma_map(&mut self, payload: &[u8], fds: MessageFds) -> Result<Answer, RequestError> {
        let map = request::dma_map(payload)?;
        let MessageFds { mut fds, too_many } = fds;
        if too_many || fds.len() > 1 {
            return Err(RequestError::Fds {
                got: fds.len(),
                expected: 1,
            });
        }
        let file = fds.pop().map(|fd| (fd, map.offset));
        let by_message = file.is_none();
        let memory = &mut self.host.bus.memory;
        memory.map(map.address, map.size, map.access, file)?;
        let private = by_message && map.access.contains(crate::wire::DmaMapFlags::WRITE);
        if private && !self.warned_of_private_memory && !self.host.bus.memory.any_mapped() {
            self.warned_of_private_memory = true;
            log::info!(
                "guest memory at {:#x} ({} KiB) is not shared: the device reaches it by slow \
                 messages only. Give QEMU memory with share=on: \
                 -object memory-backend-memfd,id=m0,size=SIZE,share=on -machine memory-backend=m0",
                map.address,
                map.size >> 10
            );
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
                    return Err(RequestError::NotMapped { address, size });
                }
                (address, size)
            }
        };
        if bus
            .dma
            .in_flight()
            .is_some_and(|access| access.touches(address, size))
        {
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
        if let Some(bar) = self
            .host
            .bar(asked.index)
            .filter(|bar| !bar.mappable.is_empty())
        {
            let whole = 0..bar.size;
            if bar.mappable != [whole] {
                capability = sparse_mmap(&bar.mappable);
                info.argsz += u32::try_from(capability.len()).unwrap_or(u32::MAX);
            }
            let shared = usize::try_from(asked.index)
                .ok()
                .and_then(|index| self.host.bus.shared_memory(index));
            if let Some(shared) = shared.filter(|_| asked.argsz >= info.argsz) {
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
                request
                    .vectors()
                    .for_each(|vector| bus.interrupts.signal(index, vector));
            }
            IrqAction::Mask | IrqAction::Unmask => {
                let masked = matches!(request.action, IrqAction::Mask);
                for vector in request.vectors() {
                    bus.interrupts.set_masked(index, vector, masked);
                }
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
        for entry in entries {
            let data = entry.data.get(..entry.count as usize).unwrap_or_default();
            self.host.write(entry.region, entry.offset, data);
        }
        self.reply
            .extend_from_slice((entries.len() as u64).as_bytes());
        Ok(Answer::Reply)
    }
}

/// Checks a first message: what version and which capabilities the client proposes, or why it
/// cannot be talked to.
fn negotiate_version(
    header: &Header,
    payload: &[u8],
    fds: &MessageFds,
) -> Result<(Version, Capabilities), String> {
    if !header.is_command() || header.command != Command::Version as u16 {
        return Err(format!(
            "the first message is command {}, not VERSION",
            header.command
        ));
    }
    if !header.wants_reply() {
        return Err("VERSION that wants no reply".into());
    }
    if fds.any() {
        return Err("VERSION with file descriptors".into());
    }
    let (version, data) = Version::read_from_prefix(payload)
        .map_err(|_| format!("VERSION of {} bytes", payload.len()))?;
    if version.major != VERSION_MAJOR {
        return Err(format!(
            "major version {}, {VERSION_MAJOR} is spoken here",
            version.major
        ));
    }
    let capabilities = parse_version_data(data).map_err(|error| error.to_string())?;
    Ok((
        Version {
            minor: version.minor.min(VERSION_MINOR),
            ..version
        },
        capabilities,
    ))
}

fn reply_header(command: &Header, payload: usize) -> Header {
    Header {
        // Replies are no longer than the longest message.
        size: u32::try_from(HEADER_SIZE + payload).unwrap_or(u32::MAX),
        flags: HeaderFlags::REPLY.bits(),
        error: 0,
        ..*command
    }
}

fn error_header(command: &Header, errno: Errno) -> Header {
    Header {
        flags: (HeaderFlags::REPLY | HeaderFlags::ERROR).bits(),
        error: errno.raw_os_error().unsigned_abs(),
        ..reply_header(command, 0)
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
    let areas = parts.iter().map(|part| MmapArea {
        offset: part.start,
        size: part.end - part.start,
    });
    let areas: Vec<MmapArea> = areas.collect();
    [head.as_bytes(), areas.as_bytes()].concat()
}

/// A message in one line, for the log.
fn describe(header: &Header, message: &Message<'_>) -> String {
    let name = match Command::from_wire(header.command) {
        Some(command) => format!("{command:?}"),
        None => format!("command {}", header.command),
    };
    let kind = match (header.is_command(), header.wants_reply()) {
        (true, true) => "",
        (true, false) => " (posted)",
        (false, _) => " (reply)",
    };
    let (bytes, fds) = (message.payload.len(), message.fds.fds.len());
    format!(
        "{name}{kind} {}: {bytes} bytes, {fds} descriptors",
        header.id
    )
}

/// Size of a wire structure as the protocol writes it.
fn wire_size<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}

fn errno_of(error: io::Error) -> RequestError {
    RequestError::Os(Errno::from_io_error(&error).unwrap_or(Errno::IO))
}
