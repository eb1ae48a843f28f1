//! One client's connection, from VERSION to its end.
//!
//! A session is a loop of one thread: wait for whatever comes first (a message, a timer, a reply
//! to a DMA message, the device's waker), act, wait again. When nothing but the client can wake it, the wait is the
//! recvmsg(2) itself, so that a register read costs two system calls: that one and the sendmsg(2)
//! of the answer.

mod deadline;
mod dma;
mod kept;
mod negotiation;
mod stopping;
mod suspension;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use zerocopy::IntoBytes;

use crate::protocol::commands::Commands;
use crate::protocol::connection::Connection;
use crate::protocol::connection_error::ConnectionError;
use crate::protocol::header::error_header;

use crate::protocol::request::{Answer, RequestError};
use dma::Deferral;
use stopping::Stopping;
pub(crate) use suspension::{ClientLink, RestRequest, SessionState};

use crate::pci::function::PciFunction;
use crate::protocol::wire::{Command, Header, HeaderFlags};

/// How long a client may take to say which version it speaks.
const NEGOTIATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of data in one DMA message.
///
/// QEMU answers with one non-blocking write, and takes one that was cut short for a whole one: a
/// reply that its socket has no room for would never end. Sockets hold 212,992 bytes.
const MAX_DMA_MESSAGE_LEN: usize = 64 << 10;
/// Most messages that are taken from the twin socket before the main socket has its turn.
const MAX_TWIN_MESSAGES: usize = 64;
/// How long a client may leave its twin socket full.
const TWIN_SEND_TIMEOUT: Duration = Duration::from_secs(5);

/// A client and the device that it is connected to.
pub(crate) struct Session<'f> {
    client: ClientLink,
    commands: Commands<'f>,
    /// DMA_UNMAPs that wait for the client's answer to an access.
    deferred: Option<Deferral>,
    /// The device comes to rest for its migration.
    stopping: Option<Stopping>,
    /// The last look at the socket found no message.
    quiet: bool,
    /// Messages to the client that have not been sent.
    outbox: Vec<u8>,
    busy_poll: Duration,
    /// Who may ask it to rest.
    rest: Option<&'f RestRequest>,
    /// What was agreed on, or waits, is not kept as it is now.
    changed: bool,
}

/// Why a session does not go on.
pub(crate) enum SessionEnd {
    /// The connection has ended; whatever belonged to the client is gone.
    Closed(ConnectionError),
    /// It was asked to rest.
    Suspended(Box<ClientLink>),
}

impl<'f> Session<'f> {
    /// Takes a connected client over: a new one, or that of a session which rested, with the device
    /// that this had or one that took its place. `busy_poll` is how long to ask for the next message
    /// again and again before going to sleep.
    pub fn new(client: ClientLink, function: &'f mut PciFunction, busy_poll: Duration) -> Self {
        function.bus.connected = true;
        function.bus.dma.hold(false);
        let mut commands = Commands::new(function);
        commands.client_takes_fds = client.takes_fds;
        Session {
            client,
            commands,
            deferred: None,
            stopping: None,
            quiet: false,
            outbox: Vec::new(),
            busy_poll,
            rest: None,
            changed: true,
        }
    }

    /// Serves the client until the connection ends, and says why it did; or until the session is to
    /// rest.
    pub fn run(mut self) -> SessionEnd {
        let end = match self.begin().and_then(|()| self.negotiate()).and_then(|()| self.serve()) {
            Err(ConnectionError::Suspended) => return SessionEnd::Suspended(Box::new(self.client)),
            Err(end) => end,
            Ok(never) => match never {},
        };
        self.client.connection.discard_unread();
        self.commands.function.disconnect();
        self.keep_end();
        SessionEnd::Closed(end)
    }

    /// Does all that can be done without waiting.
    #[cfg(feature = "fuzzing")]
    pub fn poll(&mut self) -> Result<(), ConnectionError> {
        if !self.client.negotiated && !self.negotiate_now()? {
            return Ok(());
        }
        self.client.negotiated = true;
        loop {
            self.advance()?;
            let function = &mut *self.commands.function;
            function.bus.interrupts.take_unmask(Instant::now());
            function.take_wake_up();
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
            if self.is_to_rest() && self.come_to_rest()? {
                return Err(ConnectionError::Suspended);
            }
            self.advance()?;
            self.keep_changes();
            if self.woken_by_client_only() {
                self.serve_next()?;
            } else {
                self.serve_whatever_comes_first()?;
            }
        }
    }

    /// Whether nothing but a message on the main socket can give the session something to do.
    fn woken_by_client_only(&self) -> bool {
        let bus = &self.commands.function.bus;
        bus.next_due().is_none()
            && !bus.is_ready()
            && bus.wakers().iter().all(Option::is_none)
            && self.deferred.is_none()
            && self.stopping.is_none()
            && bus.interrupts.unmask_fd().is_none()
            && bus.interrupts.settles_at().is_none()
            && (self.client.twin.is_none() || !bus.dma.is_in_flight())
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
        let bus = &self.commands.function.bus;
        let unmap = self.deferred.as_ref().map(Deferral::give_up);
        let stop = self.stopping.as_ref().map(Stopping::give_up);
        let now = bus.is_ready().then(Instant::now);
        let pin = bus.interrupts.settles_at();
        let timer = bus.next_due();
        let rest = self.client.connection.message_deadline();
        let twin_rest = self.client.twin.as_ref().and_then(Connection::message_deadline);
        let deadlines = [timer, unmap, stop, pin, now, rest, twin_rest];
        let deadline = deadlines.into_iter().flatten().min();
        self.wait(deadline)?;
        let function = &mut *self.commands.function;
        function.bus.interrupts.take_unmask(Instant::now());
        function.take_wake_up();
        self.serve_twin()?;
        self.quiet = !self.serve_message(RecvFlags::DONTWAIT)?;
        Ok(())
    }

    /// Sleeps until a descriptor is readable or the deadline is there.
    fn wait(&self, deadline: Option<Instant>) -> Result<(), ConnectionError> {
        let buffered = Connection::has_buffered_bytes;
        if buffered(&self.client.connection) || self.client.twin.as_ref().is_some_and(buffered) {
            return Ok(());
        }
        let timeout = deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
            .and_then(|left| Timespec::try_from(left).ok());
        let main = self.client.connection.as_fd();
        let twin = self.client.twin.as_ref().map(Connection::as_fd);
        let bus = &self.commands.function.bus;
        let unmask = bus.interrupts.unmask_fd();
        let in_place_of_none = |fd: Option<_>| fd.unwrap_or(main);
        let [waker, tasks] = bus.wakers().map(|waker| waker.map(AsFd::as_fd));
        let mut fds = [Some(main), twin, unmask, waker, tasks]
            .map(in_place_of_none)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Receives one message on the main socket and answers it. Returns false if there is none.
    fn serve_message(&mut self, flags: RecvFlags) -> Result<bool, ConnectionError> {
        let Some(message) = self.client.connection.receive(flags)? else {
            return Ok(false);
        };
        let header = message.header;
        log::trace!("{message}");
        if header.is_reply() {
            // With a twin socket no reply belongs here.
            let expected = self.client.twin.is_none()
                && self.commands.function.bus.dma.reply(&header, message.payload);
            // An error gets no answer: a peer that did the same would never stop.
            if !expected && !header.flags().contains(HeaderFlags::ERROR) {
                self.send_answer(header, Err(RequestError::UnexpectedReply))?;
            }
            self.keep_changes();
            return Ok(true);
        }
        let recorder = &self.commands.function.bus.recorder;
        let (time, fds) = (recorder.now(), message.fds.fds.len());
        let answer = self.commands.answer(&header, message.payload, message.fds);
        let recorder = &self.commands.function.bus.recorder;
        recorder.answered(time, (&header, message.payload, fds), &answer, self.commands.reply());
        self.send_answer(header, answer)?;
        self.commands.forget_reply();
        self.keep_changes();
        Ok(true)
    }

    /// Takes replies from the twin socket, but not so many that the main socket has to wait long.
    fn serve_twin(&mut self) -> Result<(), ConnectionError> {
        let Some(twin) = &mut self.client.twin else {
            return Ok(());
        };
        for _ in 0..MAX_TWIN_MESSAGES {
            let Some(message) = twin.receive(RecvFlags::DONTWAIT)? else {
                return Ok(());
            };
            let header = message.header;
            let expected =
                header.is_reply() && self.commands.function.bus.dma.reply(&header, message.payload);
            if !expected {
                log::info!("rejected an unexpected message on the twin socket: {header:x?}");
                if !header.flags().contains(HeaderFlags::ERROR) {
                    twin.send([error_header(&header, Errno::INVAL).as_bytes(), &[], &[]], None)?;
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
        match answer {
            Ok(Answer::Later(request)) => self.defer_unmap(header, request),
            Ok(Answer::AfterStop(state)) => self.begin_to_stop(header, state)?,
            Ok(_) if !header.wants_reply() => {}
            Ok(Answer::Reply) => self.send_reply(&header, None)?,
            Ok(Answer::ReplyWithFd(fd)) => self.send_reply(&header, Some(fd.as_fd()))?,
            Err(error) => {
                let name = Command::from_wire(header.command);
                let name = name.map_or("message".into(), |command| format!("{command:?}"));
                log::info!("rejected {name} {}: {error} ({})", header.id, error.errno());
                if header.wants_reply() {
                    let head = error_header(&header, error.errno());
                    self.send([head.as_bytes(), &[], &[]], None)?;
                }
            }
        }
        Ok(())
    }

    /// Does what is due without any message: timers, an unmasked pin, DMA, unmaps that have
    /// waited long enough.
    fn advance(&mut self) -> Result<(), ConnectionError> {
        let function = &mut *self.commands.function;
        if function.bus.interrupts.settles_at().is_some() {
            function.bus.interrupts.settle(Instant::now(), self.quiet, &function.bus.config);
        }
        if function.bus.next_due().is_some() {
            // Those that are set again meanwhile are for the next time.
            let now = Instant::now();
            while function.fire_timer(now) {}
        }
        self.advance_dma()?;
        self.finish_deferred_unmaps()?;
        self.finish_stop()
    }
}

#[cfg(test)]
mod tests;
