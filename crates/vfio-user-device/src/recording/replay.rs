//! Has a device do once more what it did when it was recorded, and compares.
//!
//! The device is given the recorded commands, timers and wake-ups in their order. What it reads of
//! guest memory comes from the recording. Its answers, its interrupts and what it writes to guest
//! memory have to be those of the recording. Memory that the device had mapped is mapped again, so
//! that it accesses it in the same way.

mod difference;
mod memory;
mod outputs;

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::Errno;
use zerocopy::FromBytes;

use super::MAX_KEPT;
use super::events::{Event, Message, SessionInfo};
use super::read::File;
use crate::device::Device;
use crate::memory::Step;
use crate::pci::function::{FunctionError, OnPanic, PciFunction};
use crate::pci::panics;
use crate::protocol::commands::Commands;
use crate::protocol::message_fds::MessageFds;
use crate::protocol::negotiate;
use crate::protocol::request::Answer;
use crate::protocol::wire::{Command, DmaMap, MAX_MESSAGE_FDS};
use crate::state::StateError;
pub use difference::Difference;
use difference::{Stop, difference, value};
pub(crate) use memory::ReplayedMemory;
use outputs::Outputs;

/// Most bytes of a message to the client, as in a session.
const MAX_MESSAGE_LEN: usize = 64 << 10;

/// What came of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Commands that were carried out.
    pub commands: usize,
    /// Accesses to registers and configuration space among them.
    pub accesses: usize,
    /// The first difference, after which nothing is replayed.
    pub difference: Option<Difference>,
    /// Why the rest of the recording was not replayed, if it was not.
    pub stopped: Option<String>,
    /// Where and why the device panicked, if it did.
    pub panic: Option<String>,
}

/// Why nothing can be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// There is no such session in the file.
    #[error("the recording has no session {0}")]
    NoSession(u32),
    /// The session began in another process.
    #[error(
        "session {0} goes on where another process was: replay the session before it, in which the \
         device was connected"
    )]
    Resumed(u32),
    /// It is another device.
    #[error("the recording is of a device {recorded}, and this one is {this}")]
    OtherDevice {
        /// The recorded one's ids.
        recorded: String,
        /// This one's.
        this: String,
    },
    /// The device is impossible.
    #[error(transparent)]
    Device(#[from] FunctionError),
    /// The device does not take the state that was recorded.
    #[error("the device cannot begin with the recorded state")]
    State(#[from] StateError),
}

/// Replays a session of a recording with a device, which begins with the state that was recorded.
///
/// # Errors
/// See [`ReplayError`].
pub fn replay(
    file: &File,
    session: u32,
    device: impl Device + 'static,
) -> Result<Replayed, ReplayError> {
    panics::remember_places();
    let info = info(file, session)?;
    let mut function = PciFunction::new(Box::new(device), OnPanic::Disable)?;
    let this = (function.config.identity.vendor, function.config.identity.device);
    if this != (info.vendor, info.device_id) {
        let name = |(vendor, device)| format!("{vendor:04x}:{device:04x}");
        let recorded = name((info.vendor, info.device_id));
        return Err(ReplayError::OtherDevice { recorded, this: name(this) });
    }
    if let Some(state) = info.state.as_ref().filter(|state| !state.is_none()) {
        function.device.restore(&mut function.bus, state)?;
    }
    function.bus.connected = true;
    let outputs = Outputs::record(file, session, &mut function);
    let memory = ReplayedMemory::of(file, session);
    function.bus.memory.replayed = Some(memory.clone());
    let mut result = Replayed::default();
    let mut replay = Replay { commands: Commands::new(&mut function), outputs, memory };
    match replay.run(file, session, &mut result) {
        Ok(()) => {}
        Err(Stop::Difference(difference)) => result.difference = Some(difference),
        Err(Stop::Stopped(reason)) => result.stopped = Some(reason),
    }
    drop(replay);
    result.panic = function.panic().map(str::to_owned);
    Ok(result)
}

fn info(file: &File, session: u32) -> Result<&SessionInfo, ReplayError> {
    let info = file.events.iter().find_map(|event| match &event.event {
        Event::Begin(info) if event.session == session => Some(info),
        _ => None,
    });
    let info = info.ok_or(ReplayError::NoSession(session))?;
    if info.resumed { Err(ReplayError::Resumed(session)) } else { Ok(info) }
}

struct Replay<'f> {
    commands: Commands<'f>,
    outputs: Outputs,
    memory: ReplayedMemory,
}

impl Replay<'_> {
    fn run(&mut self, file: &File, session: u32, result: &mut Replayed) -> Result<(), Stop> {
        let events = file.events.iter().enumerate().filter(|(_, event)| event.session == session);
        for (index, event) in events {
            match &event.event {
                Event::Message(message) => {
                    self.catch_up(index)?;
                    result.commands += 1;
                    result.accesses += message.region_accesses().len();
                    self.message(index, message)?;
                }
                Event::Timer(id) => {
                    self.catch_up(index)?;
                    self.timer(index, *id)?;
                }
                Event::Wake => {
                    self.catch_up(index)?;
                    self.wake(index)?;
                }
                Event::Dropped(count) => {
                    return Err(Stop::Stopped(format!("{count} records were lost here")));
                }
                Event::End(_) => {
                    self.catch_up(index)?;
                    self.commands.function.disconnect();
                    return Ok(());
                }
                // Those are what the device does; but the client decides when it answers a message.
                Event::Memory(access) if access.message.is_some() => {
                    if let Some((header, reply)) = self.memory.answer_now(index, access)? {
                        self.commands.function.bus.dma.reply(&header, &reply);
                    }
                }
                Event::Memory(_) | Event::Interrupt(_) => continue,
                Event::Begin(_) | Event::Stopped(_) => continue,
            }
            self.go_on(index)?;
        }
        self.catch_up(file.events.len())
    }

    /// Has the device answer a command.
    fn message(&mut self, index: usize, message: &Message) -> Result<(), Stop> {
        let header = message.header();
        let whole = (header.size as usize).saturating_sub(size_of_val(&header));
        if message.payload.len() < whole {
            let name = message.command().map_or("a command".into(), |name| format!("{name:?}"));
            return Err(Stop::Stopped(format!(
                "{name} has {whole} bytes, of which {MAX_KEPT} were recorded"
            )));
        }
        if message.command() == Some(Command::Version) {
            let agreed = negotiate::version(&header, &message.payload, &MessageFds::default());
            if let Ok((_, proposed)) = agreed {
                self.commands.heed(&proposed);
            }
            return Ok(());
        }
        let fds = descriptors(message)?;
        let answer = self.commands.answer(&header, &message.payload, fds);
        let (error, waits) = match &answer {
            Err(error) => (error.errno().raw_os_error().unsigned_abs(), false),
            Ok(answer) => (0, matches!(answer, Answer::Later(_))),
        };
        let reply = if error == 0 { self.commands.reply() } else { &[] };
        let compared = match &message.reply {
            Some((_, recorded)) if !waits => compare(message, recorded, error, reply),
            _ => Ok(()),
        };
        self.commands.forget_reply();
        compared.map_err(|(recorded, replayed)| difference(index, recorded, replayed))
    }

    fn timer(&mut self, index: usize, id: Option<u32>) -> Result<(), Stop> {
        let function = &mut *self.commands.function;
        let fired = match id {
            Some(id) => {
                let set = function.bus.timers.take(id);
                if set {
                    function.guarded((), |function| {
                        function.device.on_timer(&mut function.bus, id);
                    });
                }
                set
            }
            None => function.bus.tasks.wake_first_sleeper(),
        };
        let what = id.map_or("a task wakes up".into(), |id| format!("timer {id} fires"));
        if fired { Ok(()) } else { Err(difference(index, what, "it is not set".into())) }
    }

    fn wake(&mut self, index: usize) -> Result<(), Stop> {
        let function = &mut *self.commands.function;
        let Some(waker) = function.bus.awaited.clone() else {
            let now = "the device does not wait for it".into();
            return Err(difference(index, "the waker was used".into(), now));
        };
        if !outputs::wait_for(&waker) {
            let now = "it was not used".into();
            return Err(difference(index, "the waker was used".into(), now));
        }
        function.take_wake_up();
        Ok(())
    }

    /// Runs tasks and accesses to guest memory until there are none, and compares what they do.
    fn go_on(&mut self, index: usize) -> Result<(), Stop> {
        let function = &mut *self.commands.function;
        loop {
            self.memory.check()?;
            if function.bus.tasks.is_ready() {
                function.run_tasks();
                continue;
            }
            let bus = &mut function.bus;
            match bus.dma.step(&bus.memory, bus.config.bus_master(), MAX_MESSAGE_LEN) {
                Step::Idle => return self.outputs.compare(index),
                Step::Copied => {}
                Step::Done(done) => function.dma_done(done),
                Step::Send(message) => {
                    if let Some((header, reply)) = self.memory.answer(index, message.hold())? {
                        bus.dma.reply(&header, &reply);
                    }
                }
            }
        }
    }

    /// Waits for what was recorded before this event.
    fn catch_up(&mut self, index: usize) -> Result<(), Stop> {
        self.memory.begin(index);
        for _ in 0..outputs::LOOKS {
            if self.memory.missing(index).or(self.outputs.missing(index)).is_none() {
                return Ok(());
            }
            if !outputs::wait_for_tasks(self.commands.function) {
                break;
            }
            self.go_on(index)?;
        }
        let missing = self.memory.missing(index).or(self.outputs.missing(index));
        missing.map_or(Ok(()), |missing| Err(Stop::Difference(missing)))
    }
}

/// Descriptors in place of those that came with a command: eventfds, and for guest memory a file in
/// which nothing is: its bytes come from the recording.
fn descriptors(message: &Message) -> Result<MessageFds, Stop> {
    let mut fds = MessageFds::default();
    let failed = |errno: Errno| Stop::Stopped(format!("no descriptor: {errno}"));
    if message.command() == Some(Command::DmaMap) && message.fds > 0 {
        if let Ok((map, _)) = DmaMap::read_from_prefix(&message.payload) {
            let file = memfd_create("replayed", MemfdFlags::CLOEXEC).map_err(failed)?;
            ftruncate(&file, map.offset.saturating_add(map.size)).map_err(failed)?;
            fds.fds.push(file);
        }
    }
    if message.command() == Some(Command::DeviceSetIrqs) {
        let count = usize::try_from(message.fds).unwrap_or(MAX_MESSAGE_FDS).min(MAX_MESSAGE_FDS);
        let event = |_| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let events: Result<Vec<OwnedFd>, _> = (0..count).map(event).collect();
        fds.fds = events.map_err(failed)?;
    }
    Ok(fds)
}

/// Compares a reply; both in words if they differ.
fn compare(
    message: &Message,
    recorded: &[u8],
    error: u32,
    reply: &[u8],
) -> Result<(), (String, String)> {
    let kept = reply.get(..MAX_KEPT).unwrap_or(reply);
    if (message.error(), recorded) == (error, kept) {
        return Ok(());
    }
    // Of a read, only the data is of interest.
    let begin = if message.command() == Some(Command::RegionRead) { 16 } else { 0 };
    let words = |error: u32, reply: &[u8]| match error {
        0 => value(reply.get(begin..).unwrap_or_default()),
        error => format!("errno {error}"),
    };
    Err((words(message.error(), recorded), words(error, kept)))
}

#[cfg(test)]
mod tests;
