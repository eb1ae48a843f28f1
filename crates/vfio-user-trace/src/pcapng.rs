//! A file for Wireshark: the messages, as on the socket.
//!
//! A session is an interface; the link type is USER0. [`DISSECTOR`] tells Wireshark what is in a
//! message. A message of which the recording has the beginning alone is a packet that was cut. What is
//! no message (interrupts, mapped memory, timers) is not in the file.

use std::collections::BTreeSet;
use std::iter;

use vfio_user_device::recording::{Event, MemoryAccess};
use vfio_user_device::wire::{Command, DmaAccess, HEADER_SIZE, Header, HeaderFlags};
use zerocopy::IntoBytes;

use crate::Trace;
use crate::entry::Entry;

/// The dissector, in Lua: put it into Wireshark's folder for personal plugins, or name it with
/// `-X lua_script:`.
pub const DISSECTOR: &str = include_str!("vfio-user.lua");

/// LINKTYPE_USER0.
const LINK_TYPE: u16 = 147;
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const OPTION_COMMENT: u16 = 1;
const OPTION_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_FLAGS: u16 = 2;
/// Nanoseconds: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// The messages that these entries come from, as a file.
#[must_use]
pub fn write(trace: &Trace, entries: &[&Entry]) -> Vec<u8> {
    let sessions: BTreeSet<u32> = entries.iter().map(|entry| entry.session).collect();
    let mut entries = entries.to_vec();
    entries.dedup_by_key(|entry| entry.index);
    let mut packets: Vec<_> = entries.iter().flat_map(|entry| packets(trace, entry)).collect();
    packets.sort_by_key(|packet| packet.time);

    // Version 1.0, and a length that is not known.
    let section = [&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let mut out = Vec::new();
    block(&mut out, SECTION, section);
    for session in &sessions {
        block(&mut out, INTERFACE, interface(trace, *session));
    }
    for packet in &packets {
        let before = sessions.range(..packet.entry.session).count();
        let interface = u32::try_from(before).unwrap_or(0);
        block(&mut out, PACKET, packet.body(interface, trace.file.time_of_day));
    }
    out
}

/// The body of a session's block.
fn interface(trace: &Trace, session: u32) -> Vec<u8> {
    let server = trace.session(session).map_or("", |info| info.server.as_str());
    let name = format!("session {session} {server}");
    let mut body = LINK_TYPE.to_le_bytes().to_vec();
    body.extend([0; 6]);
    options(&mut body, [(OPTION_NAME, name.as_bytes()), (OPTION_RESOLUTION, &[NANOSECONDS])]);
    body
}

/// A message on the socket, or the beginning of it.
struct Packet<'t> {
    /// Where it comes from.
    entry: &'t Entry,
    time: u64,
    direction: u32,
    header: Header,
    payload: Vec<u8>,
}

/// The messages of an entry's event.
fn packets<'t>(trace: &Trace, entry: &'t Entry) -> Vec<Packet<'t>> {
    let packet =
        |time, (direction, header, payload)| Packet { entry, time, direction, header, payload };
    match trace.file.events.get(entry.index).map(|recorded| &recorded.event) {
        Some(Event::Message(message)) => {
            let command = (INBOUND, message.header(), message.payload.clone());
            let answered = entry.time.saturating_add(message.duration.into());
            let reply = message.reply_header().zip(message.reply.as_ref());
            let reply = reply.map(|(header, (_, payload))| (OUTBOUND, header, payload.clone()));
            let command = packet(entry.time, command);
            iter::once(command).chain(reply.map(|reply| packet(answered, reply))).collect()
        }
        Some(Event::Memory(access)) => {
            let messages = access.message.map(|id| memory_messages(access, id));
            messages.into_iter().flatten().map(|message| packet(entry.time, message)).collect()
        }
        _ => Vec::new(),
    }
}

/// The message by which guest memory was accessed, and the client's reply.
fn memory_messages(access: &MemoryAccess, id: u16) -> [(u32, Header, Vec<u8>); 2] {
    let MemoryAccess { is_write, address, count, ref data, error, .. } = *access;
    let command = if is_write { Command::DmaWrite } else { Command::DmaRead } as u16;
    let head = DmaAccess { address, count: count.into() }.as_bytes().to_vec();
    // The recording may have the beginning of the data alone.
    let with_data = (head.len() + count as usize, [&head, &data[..]].concat());
    let without = (head.len(), head);
    let (request, reply) = if is_write { (with_data, without) } else { (without, with_data) };
    let (flags, reply) = match error {
        0 => (HeaderFlags::REPLY, reply),
        _ => (HeaderFlags::REPLY | HeaderFlags::ERROR, (0, Vec::new())),
    };
    let message = |direction, flags: HeaderFlags, error, (len, payload)| {
        let size = u32::try_from(HEADER_SIZE + len).unwrap_or(u32::MAX);
        (direction, Header { id, command, size, flags: flags.bits(), error }, payload)
    };
    [message(OUTBOUND, HeaderFlags::empty(), 0, request), message(INBOUND, flags, error, reply)]
}

impl Packet<'_> {
    /// The body of its block.
    fn body(&self, interface: u32, time_of_day: u64) -> Vec<u8> {
        let time = time_of_day.saturating_add(self.time);
        let captured = u32::try_from(HEADER_SIZE + self.payload.len()).unwrap_or(u32::MAX);
        let original = self.header.size.max(captured);
        let mut body = interface.to_le_bytes().to_vec();
        // The high half comes first.
        body.extend(time.rotate_left(32).to_le_bytes());
        body.extend(captured.to_le_bytes());
        body.extend(original.to_le_bytes());
        body.extend(self.header.as_bytes());
        body.extend(&self.payload);
        pad(&mut body);
        let (comment, flags) = (self.entry.to_string(), self.direction.to_le_bytes());
        options(&mut body, [(OPTION_COMMENT, comment.as_bytes()), (OPTION_FLAGS, &flags)]);
        body
    }
}

fn block(out: &mut Vec<u8>, kind: u32, mut body: Vec<u8>) {
    pad(&mut body);
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_le_bytes();
    out.extend(kind.to_le_bytes());
    out.extend(length);
    out.extend(body);
    out.extend(length);
}

/// Two options, and the end of them.
fn options(out: &mut Vec<u8>, options: [(u16, &[u8]); 2]) {
    for (code, value) in options.into_iter().chain([(0, &[][..])]) {
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        out.extend(code.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend(value.get(..length.into()).unwrap_or(value));
        pad(out);
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    /// The kinds of the blocks of a file, whose lengths have to lead from one to the next.
    fn kinds(bytes: &[u8]) -> Vec<u32> {
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let (mut at, mut kinds) = (0, Vec::new());
        while at < bytes.len() {
            let length = number(at + 4) as usize;
            assert_eq!(number(at + length - 4) as usize, length);
            kinds.push(number(at));
            at += length;
        }
        kinds
    }

    #[test]
    fn each_message_and_each_reply_is_a_packet() {
        let trace = examples::trace();
        let entries: Vec<&Entry> = trace.entries.iter().collect();
        let kinds = kinds(&write(&trace, &entries));
        assert_eq!(kinds[..2], [SECTION, INTERFACE]);
        // Five commands with replies, and a DMA_WRITE with its own.
        assert_eq!(kinds[2..], [PACKET; 12]);
    }

    #[test]
    fn a_message_that_was_cut_says_how_long_it_was() {
        let header = Header { id: 0, command: 0, size: 5000, flags: 0, error: 0 };
        let entry = &Entry::default();
        let packet = Packet { entry, time: 1, direction: INBOUND, header, payload: vec![0; 84] };
        let body = packet.body(0, 0);
        let number = |at: usize| u32::from_le_bytes(body[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!((number(12), number(16)), (100, 5000));
    }
}
