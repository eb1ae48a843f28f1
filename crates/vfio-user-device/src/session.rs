//! One client's connection, from VERSION to its end.
//!
//! A session is a loop of one thread: wait for whatever comes first (a message, a timer, a reply
//! to a DMA message, the device's waker), act, wait again. When nothing but the client can wake it, the wait is the
//! recvmsg(2) itself, so that a register read costs two system calls: that one and the sendmsg(2)
//! of the answer.

mod commands;
mod connection;
mod dma;
mod refusal;
mod request;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use zerocopy::IntoBytes;

use commands::{Answer, Commands};
pub(crate) use connection::ConnectionError;
use connection::{Connection, Message};
use dma::Deferral;
pub(crate) use refusal::{REFUSAL_TIME, Refusal};
use request::RequestError;

use crate::host::Host;
use crate::wire::{Capabilities, Command, HEADER_SIZE, Header, HeaderFlags, Version, version_data};

/// How long a client may take to say which version it speaks.
const NEGOTIATION_TIME: Duration = Duration::from_secs(5);
/// Most bytes of data in one DMA message.
///
/// QEMU answers with one non-blocking write, and takes one that was cut short for a whole one: a
/// reply that its socket has no room for would never end. Sockets hold 212,992 bytes.
const MAX_DMA_MESSAGE_LEN: usize = 64 << 10;
/// Most messages that are taken from the twin socket before the main socket has its turn.
const MAX_TWIN_MESSAGES: usize = 64;
/// How long a client may leave its twin socket full.
const TWIN_PATIENCE: Duration = Duration::from_secs(5);

/// A client and the device that it is connected to.
pub(crate) struct Session<'h> {
    connection: Connection,
    /// The second socket, for commands of the server, if it was agreed on.
    twin: Option<Connection>,
    commands: Commands<'h>,
    /// DMA_UNMAPs that wait for the client's answer to an access.
    deferred: Option<Deferral>,
    /// The last look at the socket found no message.
    quiet: bool,
    /// Most bytes of data in a message to the client.
    largest_dma: usize,
    busy_poll: Duration,
    #[cfg(feature = "fuzzing")]
    negotiated: bool,
}

impl<'h> Session<'h> {
    /// Takes a connected client over. `busy_poll` is how long to ask for the next message again
    /// and again before going to sleep.
    pub fn new(socket: Arc<OwnedFd>, host: &'h mut Host, busy_poll: Duration) -> Self {
        host.bus.connected = true;
        Session {
            connection: Connection::new(socket),
            twin: None,
            commands: Commands::new(host),
            deferred: None,
            quiet: false,
            largest_dma: MAX_DMA_MESSAGE_LEN,
            busy_poll,
            #[cfg(feature = "fuzzing")]
            negotiated: false,
        }
    }

    /// Serves the client until the connection ends, and says why it did. Whatever belonged to the
    /// client is gone then.
    pub fn run(mut self) -> ConnectionError {
        let end = match self.negotiate() {
            Ok(()) => self.serve(),
            Err(end) => Err(end),
        };
        self.connection.discard_unread();
        self.commands.host.disconnect();
        match end {
            Err(end) => end,
            Ok(never) => match never {},
        }
    }

    /// Waits for the client to say which version it speaks.
    fn negotiate(&mut self) -> Result<(), ConnectionError> {
        let deadline = Instant::now() + NEGOTIATION_TIME;
        loop {
            let late = || ConnectionError::Negotiation("the client said nothing for 5 s".into());
            if Instant::now() >= deadline {
                return Err(late());
            }
            // Nothing but the client counts yet: the device's waker may have been used already.
            self.connection.wait(deadline)?;
            if self.negotiate_now()? {
                return Ok(());
            }
        }
    }

    /// Answers the first message, which has to be VERSION. Returns false if it is not here yet.
    fn negotiate_now(&mut self) -> Result<bool, ConnectionError> {
        let Some(message) = self.connection.receive(RecvFlags::DONTWAIT)? else {
            return Ok(false);
        };
        let header = message.header;
        let agreed = request::version(&header, message.payload, &message.fds);
        let refusal = match agreed {
            Ok((version, proposed)) => match self.agree(&header, version, &proposed) {
                Err(ConnectionError::Io(errno)) => format!("twin socket: {errno}"),
                result => return result.map(|()| true),
            },
            Err(reason) => reason,
        };
        if header.wants_reply() {
            self.connection.send(&error_header(&header, Errno::INVAL), [&[], &[]], None)?;
        }
        Err(ConnectionError::Negotiation(refusal))
    }

    /// Answers VERSION and keeps what was agreed on.
    fn agree(
        &mut self,
        header: &Header,
        version: Version,
        proposed: &Capabilities,
    ) -> Result<(), ConnectionError> {
        self.commands.client_takes_fds = proposed.max_msg_fds != Some(0);
        let twin = proposed.twin_socket.as_ref().is_some_and(|twin| twin.supported);
        let client_end = if twin && self.commands.client_takes_fds {
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            // Nobody notices the main socket's end while a command waits for room in this one.
            set_socket_timeout(&ours, Timeout::Send, Some(TWIN_PATIENCE))?;
            self.twin = Some(Connection::new(Arc::new(ours)));
            Some(theirs)
        } else {
            None
        };
        let json = version_data(proposed, client_end.is_some())
            .map_err(|error| ConnectionError::Negotiation(error.to_string()))?;
        let client_data = proposed.max_data_xfer_size.map(usize::try_from).and_then(Result::ok);
        self.largest_dma = client_data.unwrap_or(usize::MAX).min(MAX_DMA_MESSAGE_LEN);
        let payload = [version.as_bytes(), json.as_slice()];
        let reply = reply_header(header, payload[0].len() + payload[1].len());
        self.connection.send(&reply, payload, client_end.as_ref().map(AsFd::as_fd))?;
        log::info!(
            "client speaks version {}.{}{}",
            version.major,
            version.minor,
            if self.twin.is_some() { ", with a twin socket" } else { "" }
        );
        Ok(())
    }

    /// Does all that can be done without waiting.
    #[cfg(feature = "fuzzing")]
    pub fn poll(&mut self) -> Result<(), ConnectionError> {
        if !self.negotiated && !self.negotiate_now()? {
            return Ok(());
        }
        self.negotiated = true;
        loop {
            self.advance()?;
            let host = &mut *self.commands.host;
            host.bus.interrupts.take_unmask(Instant::now());
            host.take_wake_up();
            self.serve_twin()?;
            self.quiet = !self.serve_message(RecvFlags::DONTWAIT)?;
            if self.quiet {
                return Ok(());
            }
        }
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
        let bus = &self.commands.host.bus;
        bus.timers.is_empty()
            && bus.awaited.is_none()
            && !bus.dma.is_ready()
            && self.deferred.is_none()
            && bus.interrupts.unmask_fd().is_none()
            && bus.interrupts.settles_at().is_none()
            && (self.twin.is_none() || bus.dma.in_flight().is_none())
    }

    /// Waits for the next message in recvmsg(2) and answers it.
    fn serve_next(&mut self) -> Result<(), ConnectionError> {
        self.quiet = false;
        if !self.busy_poll.is_zero() {
            let asleep_from = Instant::now().checked_add(self.busy_poll);
            while asleep_from.is_none_or(|then| Instant::now() < then) {
                if self.serve_message(RecvFlags::DONTWAIT)? {
                    return Ok(());
                }
                std::hint::spin_loop();
            }
        }
        self.serve_message(RecvFlags::empty())?;
        Ok(())
    }

    /// Waits for a message, the twin socket, an unmasked pin, the device's waker or a deadline.
    fn serve_whatever_comes_first(&mut self) -> Result<(), ConnectionError> {
        let bus = &self.commands.host.bus;
        let unmap = self.deferred.as_ref().map(Deferral::give_up);
        let now = bus.dma.is_ready().then(Instant::now);
        let pin = bus.interrupts.settles_at();
        let timer = bus.timers.next_due();
        let rest = self.connection.message_deadline();
        let twin_rest = self.twin.as_ref().and_then(Connection::message_deadline);
        let deadlines = [timer, unmap, pin, now, rest, twin_rest];
        let deadline = deadlines.into_iter().flatten().min();
        self.wait(deadline)?;
        let host = &mut *self.commands.host;
        host.bus.interrupts.take_unmask(Instant::now());
        host.take_wake_up();
        self.serve_twin()?;
        self.quiet = !self.serve_message(RecvFlags::DONTWAIT)?;
        Ok(())
    }

    /// Sleeps until a descriptor is readable or the deadline is there.
    fn wait(&self, deadline: Option<Instant>) -> Result<(), ConnectionError> {
        let buffered = Connection::has_buffered_bytes;
        if buffered(&self.connection) || self.twin.as_ref().is_some_and(buffered) {
            return Ok(());
        }
        let timeout = deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .and_then(|left| Timespec::try_from(left).ok());
        let main = self.connection.as_fd();
        let twin = self.twin.as_ref().map(Connection::as_fd);
        let bus = &self.commands.host.bus;
        let (unmask, waker) = (bus.interrupts.unmask_fd(), bus.awaited.as_ref().map(AsFd::as_fd));
        let in_place_of_none = |fd: Option<_>| fd.unwrap_or(main);
        let mut fds = [Some(main), twin, unmask, waker]
            .map(in_place_of_none)
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
        log::trace!("{}", describe(&header, &message));
        if header.is_reply() {
            // With a twin socket no reply belongs here.
            let expected =
                self.twin.is_none() && self.commands.host.bus.dma.reply(&header, message.payload);
            // An error gets no answer: a peer that did the same would never stop.
            if !expected && !header.flags().contains(HeaderFlags::ERROR) {
                self.send_answer(header, Err(RequestError::UnexpectedReply))?;
            }
            return Ok(true);
        }
        let answer = self.commands.answer(&header, message.payload, message.fds);
        self.send_answer(header, answer)?;
        self.commands.forget_reply();
        Ok(true)
    }

    /// Takes replies from the twin socket, but not so many that the main socket has to wait long.
    fn serve_twin(&mut self) -> Result<(), ConnectionError> {
        let Some(twin) = &mut self.twin else {
            return Ok(());
        };
        for _ in 0..MAX_TWIN_MESSAGES {
            let Some(message) = twin.receive(RecvFlags::DONTWAIT)? else {
                return Ok(());
            };
            let header = message.header;
            let expected =
                header.is_reply() && self.commands.host.bus.dma.reply(&header, message.payload);
            if !expected {
                log::info!("refused an unexpected message on the twin socket: {header:x?}");
                if !header.flags().contains(HeaderFlags::ERROR) {
                    twin.send(&error_header(&header, Errno::INVAL), [&[], &[]], None)?;
                }
            }
        }
        Ok(())
    }

    fn send_answer(
        &mut self,
        header: Header,
        answer: Result<Answer, RequestError>,
    ) -> Result<(), ConnectionError> {
        let reply = self.commands.reply();
        match answer {
            Ok(Answer::Later(request)) => self.defer_unmap(header, request),
            Ok(_) if !header.wants_reply() => {}
            Ok(Answer::Reply) => {
                self.connection.send(&reply_header(&header, reply.len()), [reply, &[]], None)?;
            }
            Ok(Answer::ReplyWithFd(fd)) => {
                let head = reply_header(&header, reply.len());
                self.connection.send(&head, [reply, &[]], Some(fd.as_fd()))?;
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
        Ok(())
    }

    /// Does what is due without any message: timers, an unmasked pin, DMA, unmaps that have
    /// waited long enough.
    fn advance(&mut self) -> Result<(), ConnectionError> {
        let host = &mut *self.commands.host;
        if host.bus.interrupts.settles_at().is_some() {
            host.bus.interrupts.settle(Instant::now(), self.quiet, &host.bus.config);
        }
        if !host.bus.timers.is_empty() {
            // Those that are set again meanwhile are for the next time.
            let now = Instant::now();
            while host.fire_timer(now) {}
        }
        self.advance_dma()?;
        self.finish_deferred_unmaps()
    }
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
    format!("{name}{kind} {}: {bytes} bytes, {fds} descriptors", header.id)
}

#[cfg(test)]
mod tests;
