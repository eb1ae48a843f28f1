//! What a session does for a process that takes this one's place after a crash: a commit after each
//! message that was carried out, and before each answer.

use std::os::fd::{AsFd, BorrowedFd};

use zerocopy::IntoBytes;

use super::{Session, SessionState};
use crate::keeper::{Journal, Part, Unkept};
use crate::protocol::connection_error::ConnectionError;
use crate::protocol::header::reply_header;
use crate::protocol::wire::Header;
use crate::state::Descriptors;

impl Session<'_> {
    /// Begins to keep everything, and sends what the process before this one has not sent.
    pub(super) fn begin(&mut self) -> Result<(), ConnectionError> {
        let unsent = self.client.unsent.take();
        let bytes = unsent.as_ref().map_or(&[][..], |unsent| &unsent.bytes);
        let fd = unsent.as_ref().and_then(|unsent| unsent.fd.as_ref()).map(AsFd::as_fd);
        let Some(ledger) = &self.commands.function.bus.ledger else {
            return self.client.connection.send([bytes, &[], &[]], fd);
        };
        self.client.connection.set_journal(Journal::new(ledger.map()));
        // It takes the place of the answer to the client before.
        if !self.client.connection.stage([bytes, &[], &[]], fd) {
            ledger.map().set_unkept(Unkept::Part, true);
        }
        self.commands.function.mark_all();
        self.changed = true;
        self.keep(true, true, true);
        self.client.connection.transmit()
    }

    /// Sends a message to the client. What has brought it is kept before.
    pub(super) fn send(
        &mut self,
        parts: [&[u8]; 3],
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionError> {
        if self.client.connection.stage(parts, fd) {
            self.keep(false, true, false);
            return self.client.connection.transmit();
        }
        self.keep_changes();
        self.client.connection.send(parts, fd)
    }

    /// Sends the reply that was made to the last command.
    pub(super) fn send_reply(
        &mut self,
        command: &Header,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), ConnectionError> {
        let reply = self.commands.reply();
        let head = reply_header(command, reply.len());
        let parts = [head.as_bytes(), reply, &[]];
        if self.client.connection.stage(parts, fd) {
            self.keep(false, true, false);
            return self.client.connection.transmit();
        }
        self.client.connection.send(parts, fd)
    }

    /// Keeps what has changed since it was kept last.
    pub(super) fn keep_changes(&mut self) {
        let consumed = self.client.connection.has_handed_out_message();
        if consumed || self.changed || self.commands.function.is_changed() {
            self.keep(false, false, false);
        }
    }

    /// One commit. `begins` a new epoch of the journal in any case, `whole` also what seldom changes;
    /// `outgoing` if an answer is in the journal.
    fn keep(&mut self, begins: bool, outgoing: bool, whole: bool) {
        let Some(mut ledger) = self.commands.function.bus.ledger.take() else {
            return;
        };
        let handed_out = self.client.connection.has_handed_out_message();
        let rest = self.client.connection.has_rest();
        // With all that was received.
        let writes = self.changed || (begins || handed_out) && rest;
        let consumed = begins || handed_out || writes;
        if writes {
            let mut fds = Descriptors::named();
            match self.save(&mut fds) {
                Ok(state) => ledger.write(Part::Session, &Some(state), fds),
                Err(error) => {
                    log::warn!("a session is not kept, a crash loses its client: {error}");
                    ledger.map().set_unkept(Unkept::Part, true);
                }
            }
            // A rest that is kept here has to go from here later.
            self.changed = rest;
        }
        self.commands.function.write_parts(&mut ledger, whole);
        ledger.map().set_unkept(Unkept::Migration, self.commands.function.is_migrating());
        ledger.commit(consumed, outgoing);
        if handed_out {
            ledger.forget_crashes();
        }
        self.commands.function.bus.ledger = Some(ledger);
        if consumed {
            self.client.connection.begin_epoch();
        }
    }

    /// The client has gone: there is nothing of it to be kept.
    pub(super) fn keep_end(&mut self) {
        let function = &mut *self.commands.function;
        let Some(mut ledger) = function.bus.ledger.take() else { return };
        ledger.write(Part::Session, &None::<SessionState>, Descriptors::named());
        function.write_parts(&mut ledger, true);
        ledger.commit(true, false);
        function.bus.ledger = Some(ledger);
    }
}
