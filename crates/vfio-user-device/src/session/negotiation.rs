//! The first message: which version the client speaks, and what it can do.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use zerocopy::IntoBytes;

use super::{MAX_DMA_MESSAGE_LEN, NEGOTIATION_TIMEOUT, Session, TWIN_SEND_TIMEOUT};
use crate::protocol::connection::Connection;
use crate::protocol::connection_error::ConnectionError;
use crate::protocol::header::{error_header, reply_header};
use crate::protocol::negotiate;
use crate::protocol::wire::{Capabilities, Header, Offer, Version, version_data};

impl Session<'_> {
    /// Waits for the client to say which version it speaks.
    pub(super) fn negotiate(&mut self) -> Result<(), ConnectionError> {
        let deadline = Instant::now() + NEGOTIATION_TIMEOUT;
        while !self.client.negotiated {
            if self.is_to_rest() {
                return Err(ConnectionError::Suspended);
            }
            if Instant::now() >= deadline {
                let late = "the client said nothing for 5 s";
                return Err(ConnectionError::Negotiation(late.into()));
            }
            // Nothing but the client counts yet: the device's waker may have been used already.
            self.client.connection.wait(deadline)?;
            self.client.negotiated = self.negotiate_now()?;
            self.keep_changes();
        }
        Ok(())
    }

    /// Answers the first message, which has to be VERSION. Returns false if it is not here yet.
    pub(super) fn negotiate_now(&mut self) -> Result<bool, ConnectionError> {
        let Some(message) = self.client.connection.receive(RecvFlags::DONTWAIT)? else {
            return Ok(false);
        };
        let header = message.header;
        let agreed = negotiate::version(&header, message.payload, &message.fds);
        let recorder = &self.commands.function.bus.recorder;
        let recorded = recorder.now().map(|time| (time, message.payload.to_vec()));
        let reason = match agreed {
            Ok((version, proposed)) => match self.agree(&header, version, &proposed, recorded) {
                Err(ConnectionError::Io(errno)) => format!("twin socket: {errno}"),
                result => return result.map(|()| true),
            },
            Err(reason) => reason,
        };
        if header.wants_reply() {
            self.client
                .connection
                .send([error_header(&header, Errno::INVAL).as_bytes(), &[], &[]], None)?;
        }
        Err(ConnectionError::Negotiation(reason))
    }

    /// Answers VERSION and keeps what was agreed on.
    fn agree(
        &mut self,
        header: &Header,
        version: Version,
        proposed: &Capabilities,
        recorded: Option<(u64, Vec<u8>)>,
    ) -> Result<(), ConnectionError> {
        self.commands.heed(proposed);
        self.client.takes_fds = self.commands.client_takes_fds;
        let twin = proposed.twin_socket.as_ref().is_some_and(|twin| twin.supported);
        // The journal has one connection.
        let twin = twin && !self.commands.function.bus.is_kept();
        let client_end = if twin && self.commands.client_takes_fds {
            let (ours, theirs) =
                socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            // The main socket's end goes unnoticed while a command waits for room in this one.
            set_socket_timeout(&ours, Timeout::Send, Some(TWIN_SEND_TIMEOUT))?;
            self.client.twin = Some(Connection::new(Arc::new(ours)));
            Some(theirs)
        } else {
            None
        };
        let migration = self.commands.function.can_migrate();
        let json = version_data(proposed, Offer { twin_socket: client_end.is_some(), migration })
            .map_err(|error| ConnectionError::Negotiation(error.to_string()))?;
        let client_data = proposed.max_data_xfer_size.map(usize::try_from).and_then(Result::ok);
        self.client.largest_dma = client_data.unwrap_or(usize::MAX).min(MAX_DMA_MESSAGE_LEN);
        let payload = [version.as_bytes(), json.as_slice()];
        let reply = reply_header(header, payload[0].len() + payload[1].len());
        if let Some((time, command)) = recorded {
            let recorder = &self.commands.function.bus.recorder;
            let answer = payload.concat();
            recorder.message(Some(time), (header, &command, 0), Some((&reply, &answer)));
        }
        (self.client.negotiated, self.changed) = (true, true);
        let parts = [reply.as_bytes(), payload[0], payload[1]];
        self.send(parts, client_end.as_ref().map(AsFd::as_fd))?;
        log::info!(
            "client speaks version {}.{}{}",
            version.major,
            version.minor,
            if self.client.twin.is_some() { ", with a twin socket" } else { "" }
        );
        Ok(())
    }
}
