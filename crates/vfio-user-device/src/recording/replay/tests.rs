//! Devices that are recorded and replayed.

use std::time::Duration;

use super::*;
use crate::protocol::wire::{Header, RegionAccess, Version};
use crate::recording::{Interrupt, InterruptKind, MemoryAccess, Recorded};
use crate::state::DeviceState;
use crate::{Access, Bar, Bus, DeviceConfig, DmaCompletion, Identity};
use zerocopy::IntoBytes;

/// Counts reads, and copies as a hundred; copies memory; has a timer.
struct Counter {
    reads: u32,
    step: u32,
}

const COUNT: u64 = 0;
const COPY: u64 = 4;
const TIMER: u64 = 8;

impl Device for Counter {
    fn config(&self) -> DeviceConfig {
        let identity = Identity::new(0x1234, 1);
        DeviceConfig::new(identity).bar(0, Bar::memory32(4096)).interrupt_pin()
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        self.reads += self.step;
        self.reads.into()
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        match access.offset {
            COPY => drop(bus.dma_read(value, 4, 0)),
            TIMER => bus.set_timer(3, Duration::from_secs(1000)),
            COUNT if value == 99 => panic!("told to"),
            _ => bus.set_intx(false),
        }
    }

    fn on_timer(&mut self, bus: &mut Bus, _id: u32) {
        bus.set_intx(true);
    }

    fn on_dma_complete(&mut self, bus: &mut Bus, done: DmaCompletion) {
        match (done.tag, done.result) {
            (0, Ok(data)) => {
                let doubled = data.iter().map(|byte| byte * 2).collect();
                drop(bus.dma_write(0x2000, doubled, 1));
            }
            _ => self.reads += 100,
        }
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        DeviceState::of(&self.reads)
    }

    fn restore(&mut self, _bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        self.reads = state.get()?;
        Ok(())
    }
}

fn counter(step: u32) -> Counter {
    Counter { reads: 0, step }
}

/// A recording of events, one nanosecond apart.
fn recording(events: Vec<Event>) -> File {
    let state = Some(DeviceState::of(&10_u32).unwrap());
    let info = SessionInfo { vendor: 0x1234, device_id: 1, state, ..SessionInfo::default() };
    let events = std::iter::once(Event::Begin(Box::new(info))).chain(events);
    let events =
        events.zip(0..).map(|(event, time)| Recorded { time, session: 1, event }).collect();
    File { events, ..File::default() }
}

fn access(command: Command, offset: u64, data: &[u8], reply: &[u8]) -> Event {
    let region = RegionAccess { offset, region: 0, count: 4 };
    let payload = [region.as_bytes(), data].concat();
    let size = u32::try_from(16 + payload.len()).unwrap();
    let header = Header { id: 1, command: command as u16, size, flags: 0, error: 0 };
    let answer = [region.as_bytes(), reply].concat();
    let head = crate::protocol::header::reply_header(&header, answer.len());
    let bytes = |header: &Header| header.as_bytes().try_into().unwrap();
    let reply = Some((bytes(&head), answer));
    Event::Message(Message { command: bytes(&header), payload, fds: 0, reply, duration: 1 })
}

fn read(value: u32) -> Event {
    access(Command::RegionRead, COUNT, &[], &value.to_le_bytes())
}

fn write(offset: u64, value: u32) -> Event {
    access(Command::RegionWrite, offset, &value.to_le_bytes(), &[])
}

/// The command that switches bus mastering on.
fn bus_master() -> Event {
    let Event::Message(mut message) = write(4, 0) else { unreachable!() };
    let region = RegionAccess { offset: 4, region: 7, count: 4 };
    message.payload = [region.as_bytes(), &6_u32.to_le_bytes()].concat();
    message.reply.as_mut().unwrap().1 = region.as_bytes().to_vec();
    Event::Message(message)
}

/// QEMU's first command: the device asks such a client before it trusts a mapping.
fn version() -> Event {
    let version = Version { major: 0, minor: 0 };
    let data = b"{\"capabilities\": {\"write_multiple\": true}}\0";
    let payload = [version.as_bytes(), data].concat();
    let size = u32::try_from(16 + payload.len()).unwrap();
    let header = Header { id: 1, command: Command::Version as u16, size, flags: 0, error: 0 };
    let command = header.as_bytes().try_into().unwrap();
    Event::Message(Message { command, payload, fds: 0, reply: None, duration: 1 })
}

/// The client announces memory, with so many descriptors.
fn map(fds: u32) -> Event {
    let map =
        crate::protocol::wire::DmaMap { argsz: 32, flags: 3, offset: 0, address: 0, size: 0x4000 };
    let size = 16 + 32;
    let header = Header { id: 1, command: Command::DmaMap as u16, size, flags: 0, error: 0 };
    let head = crate::protocol::header::reply_header(&header, 0);
    let bytes = |header: &Header| header.as_bytes().try_into().unwrap();
    let (payload, reply) = (map.as_bytes().to_vec(), Some((bytes(&head), Vec::new())));
    Event::Message(Message { command: bytes(&header), payload, fds, reply, duration: 1 })
}

fn memory(is_write: bool, address: u64, data: &[u8]) -> Event {
    let count = u32::try_from(data.len()).unwrap();
    let data = data.to_vec();
    Event::Memory(MemoryAccess { is_write, address, count, data, message: None, error: 0 })
}

fn pin(level: bool) -> Event {
    Event::Interrupt(Interrupt { kind: InterruptKind::Intx, vector: 0, level: Some(level) })
}

fn replayed(events: Vec<Event>, step: u32) -> Replayed {
    replay(&recording(events), 1, counter(step)).unwrap()
}

#[test]
fn the_same_device_with_the_recorded_state_gives_the_same_answers() {
    let result = replayed(vec![read(11), read(12), write(12, 0)], 1);
    assert_eq!(result, Replayed { commands: 3, accesses: 3, ..Replayed::default() });
}

#[test]
fn the_first_other_answer_is_told_with_its_place() {
    let result = replayed(vec![read(12), read(14), read(15), read(16)], 2);
    let (recorded, replayed) = ("0xf".to_owned(), "0x10".to_owned());
    assert_eq!(result.difference, Some(Difference { index: 3, recorded, replayed }));
    assert_eq!(result.commands, 3, "nothing is replayed behind it");
}

#[test]
fn memory_comes_from_the_recording_and_writes_are_compared() {
    let events = |fds: u32, written: &[u8]| {
        let first = [bus_master(), map(fds), write(COPY, 0x1000)];
        // In pieces other than the device's own.
        let rest = [
            memory(false, 0x1000, &[1, 2]),
            memory(false, 0x1002, &[3, 4]),
            memory(true, 0x2000, written),
            read(111),
        ];
        first.into_iter().chain(rest).collect()
    };
    for by_message_or_mapped in [0, 1] {
        let events = |written| events(by_message_or_mapped, written);
        assert_eq!(replayed(events(&[2, 4, 6, 8]), 1).difference, None);
        let difference = replayed(events(&[2, 4, 6, 9]), 1).difference.unwrap();
        assert_eq!((difference.index, difference.replayed.as_str()), (6, "it writes 0x8060402"));
    }
}

#[test]
fn a_message_is_answered_where_its_answer_was_recorded() {
    let by_message = |is_write, address, data: &[u8]| {
        let Event::Memory(access) = memory(is_write, address, data) else { unreachable!() };
        Event::Memory(MemoryAccess { message: Some(1), ..access })
    };
    // Without a mapping, or with one that shows nothing yet.
    for begin in [vec![map(0)], vec![version(), map(1)]] {
        // The second access would read the later bytes, were the first one answered at once.
        let zeros = [0; 4];
        let accesses = [
            bus_master(),
            write(COPY, 0x1000),
            write(COPY, 0x1000),
            read(11),
            by_message(false, 0x1000, &zeros),
            by_message(false, 0x1000, &[5, 6, 7, 8]),
            by_message(true, 0x2000, &zeros),
            by_message(true, 0x2000, &[10, 12, 14, 16]),
            read(212),
        ];
        let events = begin.into_iter().chain(accesses).collect();
        assert_eq!(replayed(events, 1).difference, None);
    }
}

#[test]
fn accesses_that_were_not_recorded_or_do_not_happen_are_differences() {
    let result = replayed(vec![bus_master(), map(1), write(COPY, 0x1000), read(11)], 1);
    assert_eq!(result.difference.unwrap().recorded, "no such access follows");
    let result = replayed(vec![memory(true, 0x2000, &[1]), read(11)], 1);
    assert_eq!(result.difference.unwrap().replayed, "it does not access that");
}

#[test]
fn timers_fire_where_they_fired_and_interrupts_are_compared() {
    let result = replayed(vec![write(TIMER, 1), Event::Timer(Some(3)), pin(true), read(11)], 1);
    assert_eq!(result.difference, None);
    let result = replayed(vec![write(TIMER, 1), Event::Timer(Some(3)), read(11)], 1);
    assert_eq!(result.difference.unwrap().replayed, "the device asserts its pin");
    let result = replayed(vec![pin(true), read(11)], 1);
    assert_eq!(result.difference.unwrap().replayed, "there is no interrupt");
    let result = replayed(vec![Event::Timer(Some(3))], 1);
    assert_eq!(result.difference.unwrap().replayed, "it is not set");
}

#[test]
fn a_panic_of_the_device_is_told() {
    let result = replayed(vec![write(COUNT, 99), read(11)], 1);
    assert_eq!(result.difference.unwrap().replayed, "0xffffffff");
    assert!(result.panic.unwrap().contains("told to"));
}

#[test]
fn lost_records_end_the_replay() {
    let result = replayed(vec![read(11), Event::Dropped(7), read(99)], 1);
    assert_eq!((result.difference, result.commands), (None, 1));
    assert_eq!(result.stopped.unwrap(), "7 records were lost here");
}

#[test]
fn another_device_and_another_session_are_errors() {
    let file = recording(Vec::new());
    assert!(matches!(replay(&file, 2, counter(1)), Err(ReplayError::NoSession(2))));
    let mut other = file;
    if let Event::Begin(info) = &mut other.events[0].event {
        info.device_id = 2;
    }
    let error = replay(&other, 1, counter(1)).unwrap_err().to_string();
    assert_eq!(error, "the recording is of a device 1234:0002, and this one is 1234:0001");
}
