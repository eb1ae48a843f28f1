//! Guest memory while a client is served: DMA step by step, and the DMA_UNMAPs that wait for it.

use std::time::{Duration, Instant};

use zerocopy::IntoBytes;

use super::Session;
use super::deadline::ReplyDeadline;
use crate::memory::{InFlight, Step};
use crate::protocol::connection::Connection;
use crate::protocol::connection_error::ConnectionError;
use crate::protocol::header::reply_header;
use crate::protocol::wire::{DmaUnmap, Header};

/// Steps of DMA after which the client gets its turn, however much its device still has to copy.
const DMA_STEPS: usize = 64;
/// The same in time: QEMU holds its big lock while it waits for a register.
const DMA_TIME: Duration = Duration::from_micros(200);
/// Steps between two looks at the clock.
const DMA_STEPS_AT_ONCE: usize = 8;
/// Most bytes of messages after which no other one is added, if they are kept for another process.
const MAX_KEPT_OUTBOX_LEN: usize = 128 << 10;
/// Bytes of memory that are kept for messages.
const OUTBOX_LEN: usize = 4096;
/// How long a DMA_UNMAP waits for the client's own answer to an access of that memory.
///
/// The specification wants accesses to be over before the answer. QEMU cannot answer the access
/// while it waits for the unmap (both need its big lock), so the wait has to end before QEMU gives
/// the device up, which it does after 5 s.
const UNMAP_TIMEOUT: Duration = Duration::from_millis(100);
/// Most DMA_UNMAPs that wait at once. The access that they wait for lies in one region: more than
/// one of them takes nothing away, and only a client that means harm sends many.
const MAX_DEFERRED_UNMAPS: usize = 64;

/// DMA_UNMAPs whose answers wait for the same messages.
pub(super) struct Deferral {
    messages: Vec<InFlight>,
    unmaps: Vec<(Header, DmaUnmap)>,
    give_up: ReplyDeadline,
}

impl Deferral {
    /// When to wait no longer for the access.
    pub fn give_up(&self) -> Instant {
        self.give_up.at()
    }

    /// Whether to wait no longer. `replies` is where the client's answer comes.
    fn is_over(&mut self, replies: &Connection) -> Result<bool, ConnectionError> {
        Ok(self.unmaps.len() > MAX_DEFERRED_UNMAPS || self.give_up.is_over(replies)?)
    }
}

impl Session<'_> {
    /// Goes on with tasks and DMA, until they have to wait or the client has its turn. Messages that
    /// are under way together are sent together: the client is woken once for all of them.
    pub(super) fn advance_dma(&mut self) -> Result<(), ConnectionError> {
        self.take_steps();
        if !self.outbox.is_empty() {
            let outbox = std::mem::take(&mut self.outbox);
            match &self.client.twin {
                Some(twin) => twin.send([&outbox, &[], &[]], None)?,
                None => self.send([&outbox, &[], &[]], None)?,
            }
            self.outbox = outbox;
            self.outbox.clear();
            // An idle guest does not keep what a long write took.
            self.outbox.shrink_to(OUTBOX_LEN);
        }
        Ok(())
    }

    fn take_steps(&mut self) {
        // A few short steps take less time than to look at the clock.
        let mut deadline = None;
        for step in 1..=DMA_STEPS {
            let function = &mut self.commands.function;
            let full = function.bus.is_kept() && self.outbox.len() > MAX_KEPT_OUTBOX_LEN;
            if function.bus.stopped || full {
                return;
            }
            let long = if function.bus.tasks.is_ready() {
                function.run_tasks();
                true
            } else if function.bus.dma.is_ready() {
                self.step_dma()
            } else {
                return;
            };
            if long || step % DMA_STEPS_AT_ONCE == 0 {
                let now = Instant::now();
                if *deadline.get_or_insert(now + DMA_TIME) < now {
                    return;
                }
            }
        }
    }

    /// Does one step of DMA. Returns whether it may have taken long.
    fn step_dma(&mut self) -> bool {
        let bus = &mut self.commands.function.bus;
        let bus_master = bus.config.bus_master();
        match bus.dma.step(&bus.memory, bus_master, self.client.largest_dma) {
            Step::Idle => false,
            Step::Copied => true,
            Step::Done(done) => {
                self.commands.function.dma_done(done);
                false
            }
            Step::Send(message) => {
                let parts = [message.header.as_bytes(), message.access.as_bytes(), message.data];
                parts.iter().for_each(|part| self.outbox.extend_from_slice(part));
                false
            }
        }
    }

    /// Keeps a DMA_UNMAP until the access under way is over.
    pub(super) fn defer_unmap(&mut self, header: Header, request: DmaUnmap) {
        let messages = self.commands.function.bus.dma.in_flight().collect();
        let deferral = self.deferred.get_or_insert_with(|| Deferral {
            messages: Vec::new(),
            unmaps: Vec::new(),
            give_up: ReplyDeadline::after(UNMAP_TIMEOUT),
        });
        deferral.messages = messages;
        deferral.unmaps.push((header, request));
        self.changed = true;
    }

    /// Answers the DMA_UNMAPs that waited, if the access that they waited for is over or has taken
    /// too long.
    pub(super) fn finish_deferred_unmaps(&mut self) -> Result<(), ConnectionError> {
        let Some(deferral) = &mut self.deferred else {
            return Ok(());
        };
        let dma = &self.commands.function.bus.dma;
        let waits = dma.in_flight().any(|message| deferral.messages.contains(&message));
        if waits {
            if !deferral.is_over(self.client.twin.as_ref().unwrap_or(&self.client.connection))? {
                return Ok(());
            }
            log::info!("gave up an access to memory that the client takes back");
            if let Some(done) = self.commands.function.bus.dma.abandon_in_flight() {
                self.commands.function.dma_done(done);
            }
        }
        let answers = self.deferred_answers();
        (self.deferred, self.changed) = (None, true);
        self.send([&answers, &[], &[]], None)
    }

    /// The answers to the DMA_UNMAPs that wait.
    pub(super) fn deferred_answers(&self) -> Vec<u8> {
        let unmaps = self.deferred.iter().flat_map(|deferral| &deferral.unmaps);
        let wanted = unmaps.filter(|(header, _)| header.wants_reply());
        wanted
            .flat_map(|(header, request)| {
                let payload = request.as_bytes();
                [reply_header(header, payload.len()).as_bytes(), payload].concat()
            })
            .collect()
    }
}
