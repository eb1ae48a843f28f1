//! Guest memory while a client is served: DMA step by step, and the DMA_UNMAPs that wait for it.

use std::time::{Duration, Instant};

use zerocopy::IntoBytes;

use super::connection::{Connection, ConnectionError};
use super::{Session, reply_header};
use crate::dma::{InFlight, Step};
use crate::wire::{DmaUnmap, HEADER_SIZE, Header};

/// Steps of DMA after which the client gets its turn, however much its device still has to copy.
const DMA_STEPS: usize = 64;
/// The same in time: QEMU holds its big lock while it waits for a register.
const DMA_TIME: Duration = Duration::from_micros(200);
/// Steps between two looks at the clock.
const DMA_STEPS_AT_ONCE: usize = 8;
/// How long a DMA_UNMAP waits for the client's own answer to an access of that memory.
///
/// The specification wants accesses to be over before the answer. QEMU cannot answer the access
/// while it waits for the unmap (both need its big lock), so the wait has to end before QEMU gives
/// the device up, which it does after 5 s.
const UNMAP_GRACE: Duration = Duration::from_millis(100);
/// Most DMA_UNMAPs that wait at once. The access that they wait for lies in one region: more than
/// one of them takes nothing away, and only a client that means harm sends many.
const MAX_DEFERRED_UNMAPS: usize = 64;

/// DMA_UNMAPs whose answers wait, all for the same access.
pub(super) struct Deferral {
    access: InFlight,
    unmaps: Vec<(Header, DmaUnmap)>,
    give_up: Instant,
    /// When the time was over, the client's answer may have been in the socket already, if this
    /// thread was not run for long: it has been looked at when so many bytes were received.
    look_until: Option<u64>,
}

impl Deferral {
    /// When to wait no longer for the access.
    pub fn give_up(&self) -> Instant {
        self.give_up
    }

    /// Whether to wait no longer. `replies` is where the client's answer comes.
    fn is_over(&mut self, replies: &Connection) -> Result<bool, ConnectionError> {
        if self.unmaps.len() > MAX_DEFERRED_UNMAPS {
            return Ok(true);
        }
        if Instant::now() < self.give_up {
            return Ok(false);
        }
        let unread = replies.unread()?;
        let all = *self.look_until.get_or_insert_with(|| replies.received() + unread);
        Ok(unread == 0 && !replies.has_buffered_bytes() || replies.has_handed_out(all))
    }
}

impl Session<'_> {
    /// Goes on with DMA, until it has to wait or the client has its turn.
    pub(super) fn advance_dma(&mut self) -> Result<(), ConnectionError> {
        // A few short steps take less time than to look at the clock.
        let mut deadline = None;
        for step in 1..=DMA_STEPS {
            if !self.commands.host.bus.dma.is_ready() {
                return Ok(());
            }
            let long = self.step_dma()?;
            if long || step % DMA_STEPS_AT_ONCE == 0 {
                let now = Instant::now();
                if *deadline.get_or_insert(now + DMA_TIME) < now {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Does one step of DMA. Returns whether it may have taken long.
    fn step_dma(&mut self) -> Result<bool, ConnectionError> {
        let bus = &mut self.commands.host.bus;
        let bus_master = bus.config.bus_master();
        match bus.dma.step(&bus.memory, bus_master, self.largest_dma) {
            Step::Idle => Ok(false),
            Step::Copied => Ok(true),
            Step::Done(done) => {
                self.commands.host.dma_done(done);
                Ok(false)
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
                self.twin.as_ref().unwrap_or(&self.connection).send(&header, payload, None)?;
                Ok(false)
            }
        }
    }

    /// Keeps a DMA_UNMAP until the access under way is over.
    pub(super) fn defer_unmap(&mut self, header: Header, request: DmaUnmap) {
        let Some(access) = self.commands.host.bus.dma.in_flight() else { return };
        let deferral = self.deferred.get_or_insert_with(|| Deferral {
            access,
            unmaps: Vec::new(),
            give_up: Instant::now() + UNMAP_GRACE,
            look_until: None,
        });
        deferral.unmaps.push((header, request));
    }

    /// Answers the DMA_UNMAPs that waited, if the access that they waited for is over or has taken
    /// too long.
    pub(super) fn finish_deferred_unmaps(&mut self) -> Result<(), ConnectionError> {
        let Some(deferral) = &mut self.deferred else {
            return Ok(());
        };
        if self.commands.host.bus.dma.in_flight() == Some(deferral.access) {
            if !deferral.is_over(self.twin.as_ref().unwrap_or(&self.connection))? {
                return Ok(());
            }
            log::info!("gave up an access to memory that the client takes back");
            if let Some(done) = self.commands.host.bus.dma.abandon_in_flight() {
                self.commands.host.dma_done(done);
            }
        }
        let unmaps = self.deferred.take().map(|deferral| deferral.unmaps).unwrap_or_default();
        for (header, request) in unmaps.iter().filter(|(header, _)| header.wants_reply()) {
            let payload = request.as_bytes();
            self.connection.send(&reply_header(header, payload.len()), [payload, &[]], None)?;
        }
        Ok(())
    }
}
