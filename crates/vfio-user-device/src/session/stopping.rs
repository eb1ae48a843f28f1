//! A device that comes to rest because its client migrates it.
//!
//! The client waits for the reply, and may be one that answers no DMA message meanwhile. So the
//! wait is short, and messages without an answer are sent again when the device goes on, here or
//! elsewhere.

use std::time::{Duration, Instant};

use super::Session;
use super::deadline::ReplyDeadline;
use crate::migration::MigrationState;
use crate::protocol::connection_error::ConnectionError;
use crate::protocol::request::{Answer, RequestError};
use crate::protocol::wire::Header;

/// How long a device may take to come to rest.
const STOP_TIMEOUT: Duration = Duration::from_millis(100);

/// A command that is answered when the device stands still.
pub(super) struct Stopping {
    header: Header,
    target: MigrationState,
    reply: Vec<u8>,
    give_up: ReplyDeadline,
}

impl Stopping {
    /// When to wait no longer.
    pub fn give_up(&self) -> Instant {
        self.give_up.at()
    }
}

impl Session<'_> {
    /// Lets the device come to rest: no message to the client is sent any more.
    pub(super) fn begin_to_stop(
        &mut self,
        header: Header,
        target: MigrationState,
    ) -> Result<(), ConnectionError> {
        if self.stopping.is_some() {
            return self.send_answer(header, Err(RequestError::Stopping));
        }
        self.commands.function.bus.dma.hold(true);
        let reply = self.commands.reply().to_vec();
        let give_up = ReplyDeadline::after(STOP_TIMEOUT);
        self.stopping = Some(Stopping { header, target, reply, give_up });
        Ok(())
    }

    /// Takes the device to the state that its client has asked for, if it has come to rest or has had
    /// its time.
    pub(super) fn finish_stop(&mut self) -> Result<(), ConnectionError> {
        let Some(stopping) = &mut self.stopping else { return Ok(()) };
        let function = &mut *self.commands.function;
        let bus = &mut function.bus;
        let busy = bus.is_ready() || bus.dma.is_in_flight() || self.deferred.is_some();
        let replies = self.client.twin.as_ref().unwrap_or(&self.client.connection);
        if busy && !stopping.give_up.is_over(replies)? {
            return Ok(());
        }
        let Some(Stopping { header, target, reply, .. }) = self.stopping.take() else {
            return Ok(());
        };
        function.bus.dma.send_again();
        let moved = function.migrate_to(target);
        if function.migration_state().is_running() {
            function.bus.dma.hold(false);
        }
        self.commands.set_reply(reply);
        self.send_answer(header, moved.map(|()| Answer::Reply).map_err(RequestError::from))?;
        self.commands.forget_reply();
        Ok(())
    }
}
