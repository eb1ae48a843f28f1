//! From the records of a file to entries with names.

use std::collections::HashMap;
use std::path::Path;

use vfio_user_device::recording::{
    self, Event, File, Interrupt, InterruptKind, MemoryAccess, Message, ReadError, RegionEvent,
    SessionInfo,
};
use vfio_user_device::wire::Command;

use crate::config_names;
use crate::entry::{Access, Entry, Kind};

/// Widths of accesses in bytes, widest first.
const WIDTHS: [usize; 4] = [8, 4, 2, 1];
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
        let mut trace = Trace { file, ..Trace::default() };
        for event in &trace.file.events {
            if let Event::Begin(info) = &event.event {
                trace.sessions.insert(event.session, (**info).clone());
            }
        }
        let mut entries = Vec::with_capacity(trace.file.events.len());
        for (index, event) in trace.file.events.iter().enumerate() {
            let (time, session) = (event.time, event.session);
            let base = Entry { index, time, session, ..Entry::default() };
            trace.add(&base, &event.event, &mut entries);
        }
        trace.entries = entries;
        trace
    }

    /// What is known of a session.
    #[must_use]
    pub fn session(&self, number: u32) -> Option<&SessionInfo> {
        self.sessions.get(&number)
    }

    fn add(&self, base: &Entry, event: &Event, entries: &mut Vec<Entry>) {
        let session =
            |name: &str, value: String| Entry { name: name.into(), value, ..base.clone() };
        entries.push(match event {
            Event::Message(message) => return self.add_message(base, message, entries),
            Event::Begin(info) => session("connected", begin(info)),
            Event::End(why) => session("disconnected", why.clone()),
            Event::Dropped(count) => session("lost", format!("{count} records")),
            Event::Stopped(why) => session("stopped", why.clone()),
            Event::Memory(access) => memory(base, access),
            Event::Interrupt(found) => interrupt(base, *found),
            Event::Timer(id) => {
                let name = id.map_or("task".into(), |id| format!("timer {id}"));
                Entry { kind: Kind::Timer, name, value: "fires".into(), ..base.clone() }
            }
            Event::Wake => {
                let name = "waker".into();
                Entry { kind: Kind::Timer, name, value: "was used".into(), ..base.clone() }
            }
            _ => return,
        });
    }

    fn add_message(&self, base: &Entry, message: &Message, entries: &mut Vec<Entry>) {
        let base =
            Entry { duration: Some(message.duration), error: message.error(), ..base.clone() };
        let accesses = message.region_accesses();
        for access in &accesses {
            self.add_access(&base, access, entries);
        }
        if accesses.is_empty() {
            let number = message.header().command;
            let name = message.command().map_or(format!("command {number}"), command_name);
            let fds = match message.fds {
                0 => String::new(),
                1 => ", 1 descriptor".into(),
                count => format!(", {count} descriptors"),
            };
            let value = format!("{} bytes{fds}", message.payload.len());
            entries.push(Entry { kind: Kind::Message, name, value, ..base });
        }
    }

    /// An access to a region, in the parts in which the device sees it.
    fn add_access(&self, base: &Entry, access: &RegionEvent, entries: &mut Vec<Entry>) {
        let info = self.sessions.get(&base.session);
        let bar = info.and_then(|info| info.bar(access.region));
        let widest = if access.is_config() { 4 } else { bar.map_or(8, |bar| bar.max_access_width) };
        let count = access.count as usize;
        // What failed has no data, and is one.
        if access.error != 0 || access.data.len() != count {
            entries.push(self.access(base, access, access.offset, count, &access.data));
            return;
        }
        let mut done = 0;
        while done < count {
            let offset = access.offset.wrapping_add(done as u64);
            let fits = |width: &usize| {
                *width <= widest.max(1) && *width <= count - done && offset % *width as u64 == 0
            };
            let width = WIDTHS.into_iter().find(fits).unwrap_or(1);
            let data = access.data.get(done..done + width).unwrap_or_default();
            entries.push(self.access(base, access, offset, width, data));
            done += width;
        }
    }

    fn access(
        &self,
        base: &Entry,
        access: &RegionEvent,
        offset: u64,
        width: usize,
        data: &[u8],
    ) -> Entry {
        let region = access.region;
        let (kind, name) = if access.is_config() {
            (Kind::Config, config_names::name(offset))
        } else {
            let info = self.sessions.get(&base.session);
            let named = info.and_then(|info| info.register(region, offset));
            let place = if region < 6 { "BAR" } else { "region" };
            (Kind::Register, named.unwrap_or_else(|| format!("{place}{region}+{offset:#x}")))
        };
        Entry {
            kind,
            name,
            access: Some(if access.is_write { Access::Write } else { Access::Read }),
            region: Some(region),
            offset: Some(offset),
            bytes: Some(width as u64),
            value: value(data),
            ..base.clone()
        }
    }
}

/// A number, little endian; bytes where there are too many.
fn value(data: &[u8]) -> String {
    let mut number = [0; 8];
    match number.get_mut(..data.len()) {
        Some(low) if !data.is_empty() => {
            low.copy_from_slice(data);
            format!("{:#x}", u64::from_le_bytes(number))
        }
        _ => bytes(data),
    }
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

fn memory(base: &Entry, access: &MemoryAccess) -> Entry {
    let MemoryAccess { is_write, address, count, data, error, .. } = access;
    Entry {
        kind: Kind::Dma,
        name: format!("memory {address:#x}"),
        access: Some(if *is_write { Access::Write } else { Access::Read }),
        offset: Some(*address),
        bytes: Some((*count).into()),
        value: bytes(data),
        error: *error,
        ..base.clone()
    }
}

fn interrupt(base: &Entry, found: Interrupt) -> Entry {
    let Interrupt { kind, vector, level } = found;
    let (name, value) = match (kind, level) {
        (InterruptKind::Intx, Some(true)) => ("INTx".into(), "asserted"),
        (InterruptKind::Intx, Some(false)) => ("INTx".into(), "deasserted"),
        (InterruptKind::Intx, None) => ("INTx".into(), "interrupt"),
        (InterruptKind::Msi, _) => (format!("MSI {vector}"), "interrupt"),
        (InterruptKind::Msix, _) => (format!("MSI-X {vector}"), "interrupt"),
        (_, _) => (format!("interrupt {vector}"), "interrupt"),
    };
    Entry { kind: Kind::Interrupt, name, value: value.into(), ..base.clone() }
}

/// The protocol's name of a command: "DMA_MAP" for `DmaMap`.
pub(crate) fn command_name(command: Command) -> String {
    let mut name = String::new();
    for letter in format!("{command:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.extend(letter.to_uppercase());
    }
    name
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
