//! Interrupts in a replay, and the time that a device may take for what it does in other threads.

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::time::Duration;

use rtrb::{Consumer, RingBuffer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::difference::{Difference, Stop, difference};
use crate::pci::function::PciFunction;
use crate::recording::Recorder;
use crate::recording::events::{Event, Interrupt, InterruptKind};
use crate::recording::read::{File, records};
use crate::recording::writer::drain;

/// Bytes of interrupts that one command may cause.
const RING_LEN: usize = 4 << 20;
/// How long the device may take for what it does in another thread, and how often.
const WAIT: Duration = Duration::from_secs(2);
pub(super) const LOOKS: u32 = 1000;

/// The recorded interrupts that have not come yet, and those that come.
pub(super) struct Outputs {
    expected: VecDeque<(usize, Interrupt)>,
    ring: Consumer<u8>,
}

impl Outputs {
    /// The interrupts of a session. Those of the device go here from now on.
    pub fn record(file: &File, session: u32, function: &mut PciFunction) -> Self {
        let (producer, ring) = RingBuffer::new(RING_LEN);
        function.bus.record_to(&Recorder::new(producer, 1, None));
        let of_session = file.events.iter().enumerate().filter(|(_, it)| it.session == session);
        let expected = of_session.filter_map(|(index, it)| match it.event {
            Event::Interrupt(interrupt) if counts(&interrupt) => Some((index, interrupt)),
            _ => None,
        });
        Outputs { expected: expected.collect(), ring }
    }

    /// An interrupt that stands before an event and has not come.
    pub fn missing(&self, index: usize) -> Option<Difference> {
        let (at, interrupt) = self.expected.front().filter(|(at, _)| *at < index)?;
        let replayed = "there is no interrupt".into();
        Some(Difference { index: *at, recorded: words(interrupt), replayed })
    }

    /// Compares the interrupts since the last time.
    pub fn compare(&mut self, index: usize) -> Result<(), Stop> {
        let mut bytes = Vec::new();
        drain(&mut self.ring, &mut bytes);
        for event in records(&bytes) {
            let Event::Interrupt(interrupt) = event else { continue };
            if !counts(&interrupt) {
                continue;
            }
            let Some((at, expected)) = self.expected.pop_front() else {
                return Err(difference(index, "no interrupt follows".into(), words(&interrupt)));
            };
            if expected != interrupt {
                return Err(difference(at, words(&expected), words(&interrupt)));
            }
        }
        Ok(())
    }
}

/// Whether an interrupt is the device's doing alone. When an asserted pin interrupts the client again
/// depends on when that unmasks it.
fn counts(interrupt: &Interrupt) -> bool {
    interrupt.kind != InterruptKind::Intx || interrupt.level.is_some()
}

fn words(interrupt: &Interrupt) -> String {
    let Interrupt { kind, vector, level } = interrupt;
    match level {
        Some(true) => "the device asserts its pin".into(),
        Some(false) => "the device deasserts its pin".into(),
        None => format!("interrupt {kind:?} {vector}"),
    }
}

/// Waits until a waker was used; it stays so.
pub(super) fn wait_for(waker: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(waker, PollFlags::IN)];
    let timeout = Timespec::try_from(WAIT).ok();
    poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Waits for work that a task has given to another thread. Returns false if there is none.
pub(super) fn wait_for_tasks(function: &mut PciFunction) -> bool {
    let Some(waker) = function.bus.tasks.session_waker() else { return false };
    let woken = wait_for(waker);
    waker.take();
    woken
}
