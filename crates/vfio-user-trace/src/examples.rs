//! Recordings for tests.

use vfio_user_device::recording::{
    Event, File, Interrupt, InterruptKind, MemoryAccess, Message, Recorded, RecordedBar,
    RecordedRegister, SessionInfo,
};
use vfio_user_device::wire::{CONFIG_REGION, Command, HeaderFlags};

use crate::Trace;

fn header(command: Command, size: usize, flags: u32, error: u32) -> [u8; 16] {
    let size = u32::try_from(16 + size).expect("a short message");
    let mut header = [0; 16];
    header[2..4].copy_from_slice(&(command as u16).to_le_bytes());
    header[4..8].copy_from_slice(&size.to_le_bytes());
    header[8..12].copy_from_slice(&flags.to_le_bytes());
    header[12..16].copy_from_slice(&error.to_le_bytes());
    header
}

fn access(command: Command, region: u32, offset: u64, data: &[u8]) -> Message {
    let mut head = offset.to_le_bytes().to_vec();
    head.extend(region.to_le_bytes());
    head.extend(u32::try_from(data.len()).expect("short").to_le_bytes());
    let whole = [head.as_slice(), data].concat();
    let is_read = command == Command::RegionRead;
    let (payload, answer) = if is_read { (head, whole) } else { (whole, head) };
    let reply = header(command, answer.len(), HeaderFlags::REPLY.bits(), 0);
    Message {
        command: header(command, payload.len(), 0, 0),
        payload,
        fds: 0,
        reply: Some((reply, answer)),
        duration: 1500,
    }
}

/// A read of BAR 0.
pub fn read(offset: u64, data: &[u8]) -> Event {
    Event::Message(access(Command::RegionRead, 0, offset, data))
}

/// A write to BAR 0.
pub fn write(offset: u64, data: &[u8]) -> Event {
    Event::Message(access(Command::RegionWrite, 0, offset, data))
}

/// Events of a session with the teaching device, a millisecond apart.
pub fn of(events: Vec<Event>) -> Trace {
    let register = |name: &str, offset| RecordedRegister { name: name.into(), offset, size: 4 };
    let registers = vec![register("RANDOM", 0), register("SEED", 4)];
    let info = SessionInfo {
        server: "/run/s".into(),
        process: Some(7),
        vendor: 0x1234,
        device_id: 0xcafe,
        bars: vec![RecordedBar { number: 0, size: 4096, max_access_width: 4, registers }],
        ..SessionInfo::default()
    };
    let events = std::iter::once(Event::Begin(Box::new(info))).chain(events);
    let recorded =
        |(event, number): (Event, u64)| Recorded { time: number * 1_000_000, session: 1, event };
    let events = events.zip(0..).map(recorded).collect();
    Trace::of(File { time_of_day: 1_700_000_000_000_000_000, events, ..File::default() })
}

/// One of everything.
pub fn trace() -> Trace {
    let version = Message {
        command: header(Command::Version, 4, 0, 0),
        payload: vec![0; 4],
        fds: 0,
        reply: Some((header(Command::Version, 4, HeaderFlags::REPLY.bits(), 0), vec![0; 4])),
        duration: 9,
    };
    let mut failed = access(Command::RegionRead, 0, 0x10, &[0; 4]);
    let flags = (HeaderFlags::REPLY | HeaderFlags::ERROR).bits();
    failed.reply = Some((header(Command::RegionRead, 0, flags, 22), Vec::new()));
    let interrupt = |kind, vector, level| Event::Interrupt(Interrupt { kind, vector, level });
    of(vec![
        Event::Message(version),
        Event::Message(access(Command::RegionRead, CONFIG_REGION, 4, &[6, 0])),
        write(4, &[7, 0, 0, 0]),
        read(0, &[42, 0, 0, 0]),
        Event::Message(failed),
        interrupt(InterruptKind::Msix, 3, None),
        interrupt(InterruptKind::Intx, 0, Some(true)),
        Event::Memory(MemoryAccess {
            is_write: true,
            address: 0x1000,
            count: 3,
            data: vec![1, 2, 3],
            message: Some(4),
            error: 0,
        }),
        Event::Timer(Some(5)),
        Event::Dropped(9),
        Event::End("the client has gone".into()),
    ])
}
