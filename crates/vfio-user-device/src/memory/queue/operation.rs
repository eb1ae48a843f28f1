//! One access to guest memory: what is asked, how far it is, and what the client has said.

use super::Owner;
use crate::memory::by_message::{InFlight, reply_data};
use crate::memory::completion::DmaError;
use crate::memory::cursor::{Ahead, Buffer, Cursor, Segment};
use crate::memory::space::DmaSpace;
use crate::protocol::wire::Header;
use crate::recording::Recorder;

/// One access, and how far it is.
pub(super) struct Operation {
    pub owner: Owner,
    /// The places that are written, then those that are read.
    pub segments: Vec<Segment>,
    /// Bytes of those that are written.
    pub written: usize,
    /// Bytes of all of them.
    pub length: usize,
    /// Bytes to write, then room for those to read.
    pub data: Vec<u8>,
    /// How far it is copied or requested.
    pub cursor: Cursor,
    /// What the client has just replied to, if its mapping is to be compared.
    pub replied: Option<Sent>,
    /// The client's refusal of a piece.
    pub refused: Option<(Sent, DmaError)>,
}

/// A message under way.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    pub message: InFlight,
    /// Where its bytes begin.
    pub from: Cursor,
    /// Its reply decides about what follows.
    pub alone: bool,
}

impl Operation {
    /// Takes the client's reply to one of its messages.
    pub fn take_reply(&mut self, sent: Sent, header: &Header, payload: &[u8], recorder: &Recorder) {
        let InFlight { id, write, address, count } = sent.message;
        let reply = reply_data(&sent.message, header, payload);
        if recorder.is_on() {
            let written = self.data.get(sent.from.done()..sent.from.done() + count);
            let read = reply.unwrap_or_default();
            let data = if write { written.unwrap_or_default() } else { read };
            let error = reply.err().map_or(0, |errno| errno.raw_os_error().unsigned_abs());
            recorder.memory_by_message((sent.message.command(), id), (address, count), data, error);
        }
        match reply {
            Ok(data) => {
                let to = self.data.get_mut(sent.from.done()..).unwrap_or_default();
                to.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
                self.replied = Some(sent).filter(|sent| sent.alone);
            }
            Err(errno) => {
                let error = DmaError::Refused { address, errno: errno.raw_os_error() };
                self.refused.get_or_insert((sent, error));
            }
        }
    }

    /// Copies what is mapped, and says what is next.
    pub fn advance(&mut self, space: &DmaSpace, mut budget: usize) -> Result<Ahead, DmaError> {
        if let Some(Sent { message: InFlight { address, count, .. }, from, .. }) =
            self.replied.take()
        {
            let said = self.data.get(from.done()..from.done() + count);
            space.compare(address, said.unwrap_or_default());
        }
        if let Some((sent, refusal)) = &self.refused {
            if !sent.alone || !space.refused(sent.message.address) {
                return Err(refusal.clone());
            }
            self.cursor = sent.from;
            self.refused = None;
        }
        if self.cursor.done() < self.written {
            let mut buffer = Buffer::Write(self.data.get(..self.written).unwrap_or_default());
            let ahead = self.cursor.copy(space, &self.segments, &mut buffer, &mut budget)?;
            if ahead != Ahead::Nothing {
                return Ok(ahead);
            }
        }
        let mut buffer = Buffer::Read(self.data.get_mut(..self.length).unwrap_or_default());
        self.cursor.copy(space, &self.segments, &mut buffer, &mut budget)
    }
}
