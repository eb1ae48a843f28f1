//! Recordings that are written and read again.

use std::fs;
use std::sync::Arc;

use super::*;
use crate::pci::irq_index::IrqIndex;
use crate::protocol::wire::{Command, Header};

const NO_LIMIT: u64 = 1 << 30;

fn header(id: u16) -> Header {
    Header { id, command: Command::RegionRead as u16, size: 16, flags: 0, error: 0 }
}

fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    (folder, path)
}

/// Waits until the writer thread has ended by itself.
fn wait_until_ended(recording: &Recording) {
    for _ in 0..2000 {
        if !recording.begin(&SessionInfo::default()).is_on() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the recording does not end");
}

#[test]
fn what_was_recorded_is_read_again_in_the_order_of_time() {
    let (_folder, path) = folder();
    let recording = Recording::create(&path, NO_LIMIT).unwrap();
    let info = SessionInfo { server: "s".into(), process: Some(7), ..SessionInfo::default() };
    let recorder = recording.begin(&info);
    let begin = recorder.now();
    recorder.interrupt(IrqIndex::Msix, 3);
    recorder.memory(Command::DmaWrite, 0x1000, &[1, 2, 3]);
    recorder.message(begin, (&header(1), &[5; 16], 2), Some((&header(1), &[6; 20])));
    recorder.timer(Some(9));
    recorder.pin(PinChange::Asserted);
    recorder.end("gone");
    drop(recorder);
    recording.finish();

    let file = read(&path).unwrap();
    assert_eq!(file.damage, None);
    assert!(file.events.iter().all(|event| event.session == 1), "{file:?}");
    let events: Vec<&Event> = file.events.iter().map(|event| &event.event).collect();
    let [begin, message, interrupt, memory, timer, pin, end] = events[..] else {
        panic!("{events:#?}");
    };
    assert_eq!(begin, &Event::Begin(Box::new(info)));
    let Event::Message(message) = message else { panic!("{message:?}") };
    assert_eq!((message.payload.as_slice(), message.fds), ([5; 16].as_slice(), 2));
    assert_eq!(message.reply.as_ref().unwrap().1, [6; 20]);
    let msix = Interrupt { kind: InterruptKind::Msix, vector: 3, level: None };
    assert_eq!(interrupt, &Event::Interrupt(msix), "behind the command that caused it");
    let Event::Memory(memory) = memory else { panic!("{memory:?}") };
    assert_eq!(
        (memory.is_write, memory.address, memory.data.as_slice()),
        (true, 0x1000, &[1, 2, 3][..])
    );
    assert_eq!(timer, &Event::Timer(Some(9)));
    let pin_up = Interrupt { kind: InterruptKind::Intx, vector: 0, level: Some(true) };
    assert_eq!(pin, &Event::Interrupt(pin_up));
    assert_eq!(end, &Event::End("gone".into()));
}

#[test]
fn a_full_ring_costs_records_that_are_counted() {
    let (producer, mut consumer) = rtrb::RingBuffer::new(256);
    let recorder = Recorder::new(producer, 1, None);
    (0..100).for_each(|_| recorder.wake());
    let kept = 256 / 24;
    let chunk = consumer.read_chunk(consumer.slots()).unwrap();
    assert_eq!(chunk.len(), kept * 24);
    chunk.commit_all();
    recorder.wake();
    let chunk = consumer.read_chunk(consumer.slots()).unwrap();
    let (first, second) = chunk.as_slices();
    let bytes = [first, second].concat();
    assert_eq!(bytes.len(), 32 + 24, "the number of lost records, then the new one");
    let count: [u8; 8] = bytes[24..32].try_into().unwrap();
    assert_eq!(u64::from_le_bytes(count), 100 - kept as u64);
}

#[test]
fn the_limit_ends_the_recording_at_a_whole_record() {
    let (_folder, path) = folder();
    let recording = Recording::create(&path, 2000).unwrap();
    let recorder = recording.begin(&SessionInfo::default());
    (0..200).for_each(|_| recorder.wake());
    wait_until_ended(&recording);
    recorder.wake();
    recording.finish();
    let length = fs::metadata(&path).unwrap().len();
    assert!((1500..=2000).contains(&length), "{length}");
    let file = read(&path).unwrap();
    assert_eq!(file.damage, None);
    let last = &file.events.last().unwrap().event;
    assert!(
        matches!(last, Event::Stopped(reason) if reason.contains("--record-limit")),
        "{last:?}"
    );
}

#[test]
fn a_full_disk_ends_the_recording_and_nothing_else() {
    let full = std::path::Path::new("/dev/full");
    assert!(Recording::create(full, NO_LIMIT).is_err(), "a disk that is full from the beginning");
    // The head went to a file; all that follows goes to a full disk.
    let output = fs::OpenOptions::new().write(true).open(full).unwrap();
    let recording = Recording::on(output, NO_LIMIT).unwrap();
    let recorder = recording.begin(&SessionInfo::default());
    wait_until_ended(&recording);
    (0..100_000).for_each(|_| recorder.wake());
    recording.finish();
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_read_as_far_as_it_goes() {
    let (_folder, path) = folder();
    let recording = Recording::create(&path, NO_LIMIT).unwrap();
    let recorder = recording.begin(&SessionInfo::default());
    recorder.memory(Command::DmaRead, 1, &[7; 100]);
    recorder.message(recorder.now(), (&header(1), &[5; 16], 0), None);
    recording.finish();
    let bytes = fs::read(&path).unwrap();
    let mut most = 0;
    for end in 32..=bytes.len() {
        let file = File::from_bytes(&bytes[..end]).unwrap();
        assert!(file.events.len() >= most, "{end}");
        most = file.events.len();
    }
    assert_eq!(most, 3);
    assert!(matches!(File::from_bytes(&bytes[..31]), Err(ReadError::NotARecording)));
    let mut other = bytes.clone();
    other[8] = 9;
    assert!(matches!(File::from_bytes(&other), Err(ReadError::Version { found: 9 })));
}

#[test]
fn bytes_that_make_no_sense_are_no_panic_and_no_large_allocation() {
    let (_folder, path) = folder();
    let recording = Recording::create(&path, NO_LIMIT).unwrap();
    let recorder = recording.begin(&SessionInfo::default());
    recorder.memory(Command::DmaRead, 1, &[7; 100]);
    recorder.message(recorder.now(), (&header(1), &[5; 16], 0), Some((&header(1), &[0; 20])));
    recording.finish();
    let bytes = fs::read(&path).unwrap();
    for at in 32..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bad = bytes.clone();
            bad[at] = value;
            let file = File::from_bytes(&bad).unwrap();
            for event in &file.events {
                if let Event::Message(message) = &event.event {
                    let _ = message.region_accesses();
                }
            }
        }
    }
}

#[test]
fn a_part_of_a_recording_has_the_beginnings_of_its_sessions() {
    let (_folder, path) = folder();
    let recording = Recording::create(&path, NO_LIMIT).unwrap();
    let info = SessionInfo { server: "first".into(), ..SessionInfo::default() };
    let (recorder, silent) = (recording.begin(&info), recording.begin(&SessionInfo::default()));
    recorder.timer(Some(1));
    silent.wake();
    let from = now();
    recorder.timer(Some(2));
    let to = now();
    recorder.timer(Some(3));
    recording.finish();
    let cut = File::from_bytes(&File::cut(&fs::read(&path).unwrap(), from, to).unwrap()).unwrap();
    let events: Vec<Event> = cut.events.into_iter().map(|event| event.event).collect();
    assert_eq!(events, [Event::Begin(Box::new(info)), Event::Timer(Some(2))]);
}

#[test]
fn a_part_of_a_recording_with_a_longer_head_has_its_records() {
    let (_folder, path) = folder();
    let recording = Recording::create(&path, NO_LIMIT).unwrap();
    recording.begin(&SessionInfo::default()).timer(Some(1));
    recording.finish();
    let mut bytes = fs::read(&path).unwrap();
    let size = u16::from_le_bytes([bytes[10], bytes[11]]);
    bytes[10..12].copy_from_slice(&(size + 8).to_le_bytes());
    let end = usize::from(size);
    bytes.splice(end..end, [0; 8]);
    let whole = File::from_bytes(&bytes).unwrap().events;
    assert!(!whole.is_empty());
    let cut = File::cut(&bytes, 0, u64::MAX).unwrap();
    assert_eq!(File::from_bytes(&cut).unwrap().events, whole);
}

#[test]
fn two_processes_write_to_one_file_for_a_moment() {
    let (_folder, path) = folder();
    let first = Recording::create(&path, NO_LIMIT).unwrap();
    let recorder = first.begin(&SessionInfo::default());
    let second = Recording::append(&path, NO_LIMIT).unwrap();
    second.begin(&SessionInfo::default()).timer(Some(2));
    second.finish();
    recorder.timer(Some(1));
    first.finish();
    let file = read(&path).unwrap();
    assert_eq!(file.damage, None);
    let timers = file.events.iter().filter(|event| matches!(event.event, Event::Timer(_)));
    assert_eq!(timers.count(), 2, "{file:?}");
}

#[test]
fn another_process_goes_on_with_the_file() {
    let (_folder, path) = folder();
    let first = Recording::create(&path, NO_LIMIT).unwrap();
    first.begin(&SessionInfo::default()).wake();
    first.finish();
    let second = Recording::append(&path, NO_LIMIT).unwrap();
    second.begin(&SessionInfo { resumed: true, ..SessionInfo::default() }).wake();
    second.finish();
    let events = read(&path).unwrap().events;
    assert_eq!(events.iter().filter(|event| event.event == Event::Wake).count(), 2);
    fs::write(&path, "something else").unwrap();
    assert!(Recording::append(&path, NO_LIMIT).is_err());
}

#[test]
fn many_threads_record_beside_each_other() {
    let (_folder, path) = folder();
    let recording = Arc::new(Recording::create(&path, NO_LIMIT).unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let recorder = recording.begin(&SessionInfo::default());
                (0..1000).for_each(|number| recorder.timer(Some(number)));
            });
        }
    });
    recording.finish();
    let events = read(&path).unwrap().events;
    for session in 1..=4 {
        let of_session = events.iter().filter(|event| event.session == session);
        let numbers = of_session.filter_map(|event| match event.event {
            Event::Timer(number) => number,
            _ => None,
        });
        assert!(numbers.eq(0..1000), "session {session}");
    }
}
