//! A session without a server around it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;

use rustix::io::write;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::time::{ClockId, clock_gettime};

use super::*;
use crate::pci::function::OnPanic;
use crate::protocol::wire::{DmaMapFlags, HEADER_SIZE, Version};
use crate::{Access, Bus, Device, DeviceConfig, Identity, Waker};

struct Nothing;

impl Device for Nothing {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
}

fn with_session(work: impl FnOnce(&mut Session<'_>, OwnedFd)) {
    let (ours, client) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    let mut function = PciFunction::new(Box::new(Nothing), OnPanic::Propagate).unwrap();
    let link = ClientLink::new(Arc::new(ours));
    work(&mut Session::new(link, &mut function, Duration::ZERO), client);
}

/// Processor time of this thread, which does not grow while others have the processor.
fn used() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap()
}

#[test]
fn a_waker_that_was_used_does_not_keep_the_negotiation_busy() {
    with_session(|session, client| {
        let waker = Waker::new().unwrap();
        waker.wake();
        session.commands.function.bus.wait_for(&waker);
        let before = used();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(500));
                let size = u32::try_from(HEADER_SIZE + size_of::<Version>()).unwrap();
                let header = Header { id: 1, command: 1, size, flags: 0, error: 0 };
                let version = Version { major: 0, minor: 0 };
                let message = [header.as_bytes(), version.as_bytes()].concat();
                assert_eq!(write(&client, &message), Ok(message.len()));
            });
            session.negotiate().unwrap();
        });
        let used = used() - before;
        assert!(used < Duration::from_millis(30), "{used:?} of half a second");
        assert!(session.commands.function.bus.awaited.is_some(), "the wake-up is not lost");
    });
}

#[test]
fn the_twin_socket_leaves_the_main_one_its_turn() {
    with_session(|session, _client| {
        let (ours, twin) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        session.client.twin = Some(Connection::new(Arc::new(ours)));
        let flags = (HeaderFlags::REPLY | HeaderFlags::ERROR).bits();
        let error = Header { id: 7, command: 11, size: 16, flags, error: 5 };
        assert_eq!(write(&twin, &error.as_bytes().repeat(1000)), Ok(16_000));
        let received =
            |session: &Session<'_>| session.client.twin.as_ref().map(Connection::received);
        session.serve_twin().unwrap();
        assert!(received(session) <= Some(16 * MAX_TWIN_MESSAGES as u64 + 36));
        // What was read ahead is not waited for.
        session.wait(None).unwrap();
        for _ in 0..1000 / MAX_TWIN_MESSAGES {
            session.serve_twin().unwrap();
        }
        assert_eq!(received(session), Some(16_000));
    });
}

#[test]
fn a_long_copy_leaves_the_client_its_turn() {
    const LENGTH: usize = 16 << 20;
    with_session(|session, _client| {
        let file = tempfile::tempfile().unwrap();
        file.set_len(LENGTH as u64).unwrap();
        let bus = &mut session.commands.function.bus;
        let access = DmaMapFlags::READ | DmaMapFlags::WRITE;
        bus.memory.map(0, LENGTH as u64, access, Some((file.into(), 0))).unwrap();
        bus.config.write(0x04, &[6, 0]);
        bus.dma_read(0, LENGTH, 1).unwrap();
        let mut turns = 0;
        while session.commands.function.bus.dma.is_ready() {
            session.advance_dma().unwrap();
            turns += 1;
        }
        assert!(turns >= 4, "{turns} turns for 16 MiB");
    });
}
