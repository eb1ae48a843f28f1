//! A connection between two messages, or within one that has not arrived whole, as a value.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{Connection, FIRST_READ};
use crate::protocol::message_fds::MessageFds;
use crate::protocol::wire::{MAX_MESSAGE_FDS, MAX_MESSAGE_SIZE};
use crate::state::{Descriptors, FdNumber, Hex, StateError};

/// A connection: its socket, and what was received of messages that were not handed out.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectionState {
    socket: FdNumber,
    head: Hex,
    long: Hex,
    fds: Vec<FdNumber>,
    too_many_fds: bool,
    missing_fds: bool,
}

impl ConnectionState {
    /// Adds bytes and descriptors that were received, and not saved.
    pub fn append(&mut self, bytes: &[u8], fds: Vec<FdNumber>, too_many_fds: bool) {
        let before = if self.long.0.is_empty() { &self.head.0 } else { &self.long.0 };
        let all = [before.as_slice(), bytes].concat();
        self.head = Hex(all.iter().copied().take(FIRST_READ).collect());
        self.long = Hex(if all.len() > FIRST_READ { all } else { Vec::new() });
        self.fds.extend(fds);
        self.too_many_fds |= too_many_fds;
    }
}

impl Connection {
    /// Saves it. The last message has been answered.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub fn save(&mut self, fds: &mut Descriptors) -> Result<ConnectionState, StateError> {
        self.forget_last_message();
        let received = self.fds.fds.iter().map(|fd| fds.add(fd.as_fd()));
        let received = received.collect::<Result<_, StateError>>()?;
        let filled = |bytes: &[u8], count| Hex(bytes.get(..count).unwrap_or_default().to_vec());
        Ok(ConnectionState {
            socket: fds.add_shared(&self.socket)?,
            head: filled(&self.head, self.head_filled),
            long: filled(&self.long, self.long_filled),
            fds: received,
            too_many_fds: self.fds.too_many,
            missing_fds: self.fds.missing,
        })
    }

    /// Goes on with the connection of another process. The client has its whole time again for the
    /// rest of a message.
    ///
    /// # Errors
    /// More bytes or descriptors than a connection can have.
    pub fn restore(state: ConnectionState, fds: &mut Descriptors) -> Result<Self, StateError> {
        let (head, long) = (state.head.0, state.long.0);
        let possible = head.len() <= FIRST_READ
            && long.len() <= MAX_MESSAGE_SIZE
            && state.fds.len() <= MAX_MESSAGE_FDS;
        if !possible {
            return Err(StateError::Content("a message is longer than messages are".into()));
        }
        let mut connection = Connection::new(Arc::new(fds.take(state.socket)?));
        if let Some(place) = connection.head.get_mut(..head.len()) {
            place.copy_from_slice(&head);
        }
        (connection.head_filled, connection.long_filled) = (head.len(), long.len());
        connection.long = long;
        let received = state.fds.into_iter().map(|number| fds.take(number));
        connection.fds = MessageFds {
            fds: received.collect::<Result<_, _>>()?,
            too_many: state.too_many_fds,
            missing: state.missing_fds,
        };
        if connection.head_filled > 0 {
            connection.rest_due = Some(Instant::now() + connection.message_timeout);
        }
        Ok(connection)
    }

    /// The socket itself.
    pub fn socket(&self) -> &Arc<std::os::fd::OwnedFd> {
        &self.socket
    }
}
