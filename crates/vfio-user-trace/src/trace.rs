//! From the records of a file to entries with names.

use std::collections::HashMap;
use std::path::Path;

use vfio_user_device::recording::{
    self, Event, File, Interrupt, InterruptKind, MemoryAccess, Message, ReadError, Recorded,
    RegionEvent, SessionInfo,
};
use vfio_user_device::wire::Command;

use crate::config_names;
use crate::entry::{Access, Entry, Kind};

/// Widths of accesses in bytes, widest first.
const WIDTHS: [u32; 4] = [8, 4, 2, 1];
/// Bytes of guest memory that are shown.
const SHOWN_BYTES: usize = 16;

/// A recording with its entries.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The records.
    pub file: File,
    /// What happened, in the order of time.
    pub entries: Vec<Entry>,
    sessions: HashMap<u32, SessionInfo>,
}

impl Trace {
    /// Reads a recording.
    ///
    /// # Errors
    /// The file cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        Ok(Trace::of(recording::read(path)?))
    }

    /// Names what is in a recording.
    #[must_use]
    pub fn of(file: File) -> Self {
        let begin = |recorded: &Recorded| match &recorded.event {
            Event::Begin(info) => Some((recorded.session, (**info).clone())),
            _ => None,
        };
        let sessions = file.events.iter().filter_map(begin).collect();
        let mut trace = Trace { file, sessions, entries: Vec::new() };
        let recorded = trace.file.events.iter().enumerate();
        trace.entries =
            recorded.flat_map(|(index, recorded)| trace.named(index, recorded)).collect();
        trace
    }

    /// What is known of a session.
    #[must_use]
    pub fn session(&self, number: u32) -> Option<&SessionInfo> {
        self.sessions.get(&number)
    }

    /// The entries of a record.
    fn named(&self, index: usize, recorded: &Recorded) -> impl Iterator<Item = Entry> + use<> {
        let (time, session) = (recorded.time, recorded.session);
        let entries = match &recorded.event {
            Event::Message(message) => self.message(session, message),
            event => other(event).into_iter().collect(),
        };
        entries.into_iter().map(move |entry| Entry { index, time, session, ..entry })
    }

    /// A message: an entry for each access to a register, or one for all of it.
    fn message(&self, session: u32, message: &Message) -> Vec<Entry> {
        let info = self.session(session);
        let accesses = message.region_accesses();
        let mut entries: Vec<Entry> = match accesses.is_empty() {
            true => vec![whole(message)],
            false => {
                let parts = accesses.into_iter().flat_map(|access| parts(access, info));
                parts.map(|part| register(&part, info)).collect()
            }
        };
        for entry in &mut entries {
            entry.duration = Some(message.duration);
            entry.error = message.error();
        }
        entries
    }
}

/// What happened beside messages.
fn other(event: &Event) -> Option<Entry> {
    Some(match event {
        Event::Begin(info) => Entry::new(Kind::Session, "connected", begin(info)),
        Event::End(why) => Entry::new(Kind::Session, "disconnected", why),
        Event::Dropped(count) => Entry::new(Kind::Session, "lost", format!("{count} records")),
        Event::Stopped(why) => Entry::new(Kind::Session, "stopped", why),
        Event::Memory(access) => memory(access),
        Event::Interrupt(found) => interrupt(*found),
        Event::Timer(Some(id)) => Entry::new(Kind::Timer, format!("timer {id}"), "fires"),
        Event::Timer(None) => Entry::new(Kind::Timer, "task", "fires"),
        Event::Wake => Entry::new(Kind::Timer, "waker", "was used"),
        _ => return None,
    })
}

/// A message without accesses to registers.
fn whole(message: &Message) -> Entry {
    let number = message.header().command;
    let name = message.command().map_or(format!("command {number}"), command_name);
    let fds = match message.fds {
        0 => String::new(),
        1 => ", 1 descriptor".into(),
        count => format!(", {count} descriptors"),
    };
    Entry::new(Kind::Message, name, format!("{} bytes{fds}", message.payload.len()))
}

/// An access to a region, in the parts in which the device sees it.
fn parts(access: RegionEvent, info: Option<&SessionInfo>) -> Vec<RegionEvent> {
    // What failed has no data, and is one.
    if access.error != 0 || access.data.len() != access.count as usize {
        return vec![access];
    }
    let bar = info.and_then(|info| info.bar(access.region));
    let widest = if access.is_config() { 4 } else { bar.map_or(8, |bar| bar.max_access_width) };
    let (mut offset, mut rest) = (access.offset, access.data.as_slice());
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let widest = widest.min(rest.len());
        let fits = |width: &u32| *width as usize <= widest && offset % u64::from(*width) == 0;
        let count = WIDTHS.into_iter().find(fits).unwrap_or(1);
        let (data, behind) = rest.split_at(count as usize);
        parts.push(RegionEvent { offset, count, data: data.to_vec(), ..access });
        offset = offset.wrapping_add(count.into());
        rest = behind;
    }
    parts
}

/// An access to a register, with its name.
fn register(access: &RegionEvent, info: Option<&SessionInfo>) -> Entry {
    let RegionEvent { is_write, region, offset, count, ref data, .. } = *access;
    let place = if region < 6 { "BAR" } else { "region" };
    let (kind, name) = match info.and_then(|info| info.register(region, offset)) {
        _ if access.is_config() => (Kind::Config, config_names::name(offset)),
        Some(name) => (Kind::Register, name),
        None => (Kind::Register, format!("{place}{region}+{offset:#x}")),
    };
    Entry {
        access: Some(Access::of(is_write)),
        region: Some(region),
        offset: Some(offset),
        bytes: Some(count.into()),
        ..Entry::new(kind, name, value(data))
    }
}

/// A number, little endian; bytes where there are too many.
fn value(data: &[u8]) -> String {
    if data.is_empty() || data.len() > size_of::<u64>() {
        return bytes(data);
    }
    let number = data.iter().rfold(0, |number, byte| number << 8 | u64::from(*byte));
    format!("{number:#x}")
}

/// The first bytes.
fn bytes(data: &[u8]) -> String {
    let shown = data.get(..SHOWN_BYTES).unwrap_or(data);
    let text: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    let more = if shown.len() < data.len() { " ..." } else { "" };
    format!("{}{more}", text.join(" "))
}

fn begin(info: &SessionInfo) -> String {
    let process = info.process.map_or(String::new(), |id| format!(" by process {id}"));
    let resumed = if info.resumed { ", goes on" } else { "" };
    let SessionInfo { server, vendor, device_id, .. } = info;
    format!("{server}{process}: device {vendor:04x}:{device_id:04x}{resumed}")
}

fn memory(access: &MemoryAccess) -> Entry {
    let MemoryAccess { is_write, address, count, ref data, error, .. } = *access;
    Entry {
        access: Some(Access::of(is_write)),
        offset: Some(address),
        bytes: Some(count.into()),
        error,
        ..Entry::new(Kind::Dma, format!("memory {address:#x}"), bytes(data))
    }
}

fn interrupt(Interrupt { kind, vector, level }: Interrupt) -> Entry {
    let name = match kind {
        InterruptKind::Intx => "INTx".into(),
        InterruptKind::Msi => format!("MSI {vector}"),
        InterruptKind::Msix => format!("MSI-X {vector}"),
        _ => format!("interrupt {vector}"),
    };
    let value = match level {
        Some(true) => "asserted",
        Some(false) => "deasserted",
        None => "interrupt",
    };
    Entry::new(Kind::Interrupt, name, value)
}

/// The protocol's name of a command: "DMA_MAP" for `DmaMap`.
fn command_name(command: Command) -> String {
    let words = |letter: char| match letter.is_uppercase() {
        true => format!("_{letter}"),
        false => letter.to_uppercase().collect(),
    };
    let name: String = format!("{command:?}").chars().map(words).collect();
    name.trim_start_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    #[test]
    fn accesses_have_the_names_of_their_registers() {
        let trace = examples::trace();
        let lines: Vec<String> = trace.entries.iter().map(Entry::to_string).collect();
        assert_eq!(
            lines,
            [
                "connected /run/s by process 7: device 1234:cafe",
                "VERSION 4 bytes",
                "COMMAND read 2 -> 0x6",
                "SEED write 4 <- 0x7",
                "RANDOM read 4 -> 0x2a",
                "BAR0+0x10 read 4 failed: errno 22",
                "MSI-X 3 interrupt",
                "INTx asserted",
                "memory 0x1000 write 3 <- 01 02 03",
                "timer 5 fires",
                "lost 9 records",
                "disconnected the client has gone",
            ]
        );
    }

    #[test]
    fn an_access_of_8_bytes_is_two_of_the_devices_width() {
        let trace = examples::of(vec![examples::read(0, &[1, 0, 0, 0, 2, 0, 0, 0])]);
        let lines: Vec<String> = trace.entries.iter().skip(1).map(Entry::to_string).collect();
        assert_eq!(lines, ["RANDOM read 4 -> 0x1", "SEED read 4 -> 0x2"]);
    }

    #[test]
    fn commands_have_the_names_of_the_protocol() {
        assert_eq!(command_name(Command::DeviceGetInfo), "DEVICE_GET_INFO");
    }
}
