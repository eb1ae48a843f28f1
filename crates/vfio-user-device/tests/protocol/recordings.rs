//! Sessions that are recorded.

use std::path::PathBuf;

use tempfile::TempDir;
#[cfg(feature = "cli")]
use vfio_user_device::cli::{Action, ProgramError};
use vfio_user_device::recording::{self, Event, File, InterruptKind, MemoryAccess, Recording};
use vfio_user_device::server::{Options, Server};
#[cfg(feature = "cli")]
use vfio_user_device::{Access, Bus, Device, DeviceConfig, DeviceState, StateError};

use crate::common::*;
use crate::device::{DONE, Everything, PIN, RAISE, READ, SCRATCH, TIMER, WRITE};
use crate::dma::take_dma;
use crate::interrupts::assign;
use crate::served::{RunningServer, ring};

/// A server whose sessions are recorded.
struct Recorded {
    folder: TempDir,
    recording: Recording,
    server: RunningServer,
}

impl Recorded {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recording = Recording::create(&folder.path().join("file"), 1 << 30).unwrap();
        let server = RunningServer::of(|path| {
            let server = Server::bind(path, Everything::default(), Options::default()).unwrap();
            server.with_recording(&recording, "everything".into())
        });
        Recorded { folder, recording, server }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("file")
    }

    /// What is in it once all clients have gone.
    fn read(self) -> File {
        let path = self.path();
        drop(self.server);
        self.recording.finish();
        recording::read(&path).unwrap()
    }
}

fn accesses(file: &File) -> Vec<(bool, u32, u64, Vec<u8>)> {
    let messages = file.events.iter().filter_map(|event| match &event.event {
        Event::Message(message) => Some(message.region_accesses()),
        _ => None,
    });
    messages.flatten().map(|it| (it.is_write, it.region, it.offset, it.data)).collect()
}

fn memory_accesses(file: &File) -> Vec<MemoryAccess> {
    let found = file.events.iter().filter_map(|event| match &event.event {
        Event::Memory(access) => Some(access.clone()),
        _ => None,
    });
    found.collect()
}

#[test]
fn each_register_access_is_recorded_with_its_answer() {
    let recorded = Recorded::new();
    let mut client = recorded.server.client();
    client.write_u32(0, SCRATCH, 0x1234);
    assert_eq!(client.read_u32(0, SCRATCH), 0x1234);
    client.read(CONFIG, 0, 2);
    drop(client);
    let file = recorded.read();
    let scratch = 0x1234_u32.to_le_bytes().to_vec();
    assert_eq!(
        accesses(&file),
        [
            (true, 0, SCRATCH, scratch.clone()),
            (false, 0, SCRATCH, scratch),
            (false, CONFIG, 0, vec![0x34, 0x12]),
        ]
    );
    let Event::Begin(info) = &file.events[0].event else { panic!("{:?}", file.events[0]) };
    assert_eq!((info.vendor, info.device_id, &info.device), (0x1234, 0x7e57, &"everything".into()));
    assert_eq!(info.bars.iter().map(|bar| bar.number).collect::<Vec<_>>(), [0, 1, 2, 4, 5]);
    let Event::Message(version) = &file.events[1].event else { panic!("{:?}", file.events[1]) };
    assert_eq!((version.header().command, version.error()), (VERSION, 0));
    assert!(matches!(&file.events.last().unwrap().event, Event::End(_)));
}

#[test]
fn a_rejected_access_is_recorded_with_its_errno() {
    let recorded = Recorded::new();
    let mut client = recorded.server.client();
    client.request(REGION_READ, &access(0, 4096, 4));
    drop(client);
    let file = recorded.read();
    let errors: Vec<u32> = file
        .events
        .iter()
        .filter_map(|event| match &event.event {
            Event::Message(message) => Some(message.error()),
            _ => None,
        })
        .collect();
    assert_eq!(errors, [0, 22]);
}

#[test]
fn interrupts_and_timers_are_recorded_behind_what_caused_them() {
    let recorded = Recorded::new();
    let mut client = recorded.server.client();
    let fired = event();
    assign(&mut client, MSIX, 5, &[&fired]);
    client.write_u32(0, RAISE, 5);
    client.write_u32(0, PIN, 1);
    client.write_u32(0, PIN, 0);
    client.write_u32(0, TIMER, 7 << 16 | 1);
    let timer_fired = |client: &mut Client| client.read_u32(0, crate::device::FIRED) == 1;
    wait_until("the timer has fired", || timer_fired(&mut client));
    drop(client);
    let file = recorded.read();
    let mut last_write = 0;
    let mut seen = Vec::new();
    for event in &file.events {
        match &event.event {
            Event::Message(message) => {
                let writes = message.region_accesses().into_iter().filter(|it| it.is_write);
                last_write = writes.map(|it| it.offset).next_back().unwrap_or(last_write);
            }
            Event::Interrupt(it) => seen.push((last_write, it.kind, it.vector, it.level)),
            Event::Timer(id) => assert_eq!((last_write, *id), (TIMER, Some(7))),
            _ => {}
        }
    }
    assert_eq!(
        seen,
        [
            (RAISE, InterruptKind::Msix, 5, None),
            (PIN, InterruptKind::Intx, 0, Some(true)),
            (PIN, InterruptKind::Intx, 0, Some(false)),
        ]
    );
    assert!(file.events.iter().any(|event| event.event == Event::Timer(Some(7))));
}

#[test]
fn accesses_to_mapped_guest_memory_are_recorded_with_their_bytes() {
    let recorded = Recorded::new();
    let mut client = recorded.server.bus_master();
    let guest = memory(0x1000);
    client.map(0x1000, 0x1000, Some(&guest));
    ring(&mut client, WRITE, 0x1010, 3, 0xab);
    ring(&mut client, READ, 0x1011, 2, 0);
    wait_until("both are done", || client.read_u32(0, DONE) == 2);
    drop(client);
    assert_eq!(
        memory_accesses(&recorded.read()),
        [access_of(true, 0x1010, &[0xab; 3]), access_of(false, 0x1011, &[0xab; 2])]
    );
}

#[test]
fn accesses_by_message_are_recorded_with_the_clients_answer() {
    let recorded = Recorded::new();
    let mut client = recorded.server.bus_master();
    client.map(0x1000, 0x1000, None);
    ring(&mut client, READ, 0x1010, 2, 0);
    let (id, ..) = take_dma(&mut client, DMA_READ);
    client.send_raw(&dma_reply(id, DMA_READ, 0x1010, 2, &[7, 8]), &[]);
    wait_until("it is done", || client.read_u32(0, DONE) == 1);
    drop(client);
    let by_message = MemoryAccess { message: Some(id), ..access_of(false, 0x1010, &[7, 8]) };
    assert_eq!(memory_accesses(&recorded.read()), [by_message]);
}

fn access_of(is_write: bool, address: u64, data: &[u8]) -> MemoryAccess {
    let (count, data) = (data.len() as u32, data.to_vec());
    MemoryAccess { is_write, address, count, data, message: None, error: 0 }
}

/// The device, with registers that keep nothing.
#[cfg(feature = "cli")]
struct Forgetful;

#[cfg(feature = "cli")]
impl Device for Forgetful {
    fn config(&self) -> DeviceConfig {
        Everything::default().config()
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}

    fn restore(&mut self, _bus: &mut Bus, _state: &DeviceState) -> Result<(), StateError> {
        Ok(())
    }
}

#[cfg(feature = "cli")]
#[test]
fn a_program_replays_what_it_recorded_and_tells_another_device_apart() {
    let recorded = Recorded::new();
    let mut client = recorded.server.client();
    client.write_u32(0, SCRATCH, 0x1234);
    assert_eq!(client.read_u32(0, SCRATCH), 0x1234);
    drop(client);
    let Recorded { folder, recording, server } = recorded;
    drop(server);
    recording.finish();
    let task = |file| Action::Replay { file, session: 1 };
    let file = folder.path().join("file");
    task(file.clone()).run(Everything::default()).unwrap();
    let error = task(file).run(Forgetful).unwrap_err();
    assert!(matches!(error, ProgramError::Different), "{error}");
    let error = task(folder.path().join("absent")).run(Everything::default()).unwrap_err();
    assert!(matches!(error, ProgramError::Read { .. }), "{error}");
}
