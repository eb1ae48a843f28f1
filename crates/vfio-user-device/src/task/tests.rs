//! Tasks of a device on a bench.

mod orders;

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use super::*;
use crate::pci::function::{OnPanic, PciFunction};
use crate::protocol::wire::DmaMapFlags;
use crate::{Access, Bar, DeviceConfig, Identity, TestBench};

type Log = Arc<Mutex<Vec<String>>>;
type Start = fn(&mut Bus, u64);

/// A device that starts a task when its register is written.
struct Starter {
    start: Start,
    log: Log,
    value: u64,
}

impl Starter {
    fn note(&self, line: impl Into<String>) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line.into());
    }
}

impl Device for Starter {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        self.value
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        match access.offset {
            0 => (self.start)(bus, value),
            4 => {
                self.value = value;
                bus.wake_tasks();
            }
            _ => bus.cancel_tasks(),
        }
    }

    fn on_disconnect(&mut self, _bus: &mut Bus) {
        self.note("disconnected");
    }
}

/// A device on a bench with a page of memory, and what its tasks note.
fn bench(start: Start) -> (TestBench, Log) {
    let log = Log::default();
    let device = Starter { start, log: Arc::clone(&log), value: 0 };
    (TestBench::new(device).unwrap().with_memory(1 << 20).unwrap(), log)
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap_or_else(PoisonError::into_inner))
}

fn note(task: &Task<Starter>, line: impl Into<String>) {
    task.with(|device, _| device.note(line));
}

/// Copies 8 bytes from two places to two others.
fn copy(bus: &mut Bus, address: u64) {
    bus.spawn(async move |task: Task<Starter>| {
        let places = |address| {
            [Segment { address, length: 3 }, Segment { address: address + 0x100, length: 5 }]
        };
        let mut bytes = [0; 8];
        let read = task.gather(&places(address), &mut bytes).await;
        note(&task, format!("{read:?}"));
        let written = task.scatter(&places(address + 0x800), &bytes).await;
        note(&task, format!("{written:?}"));
    });
}

#[test]
fn mapped_memory_is_copied_at_once() {
    let (mut bench, log) = bench(copy);
    bench.write_memory(0x1000, b"abc");
    bench.write_memory(0x1100, b"defgh");
    bench.write(0, 0, 4, 0x1000);
    assert_eq!(taken(&log), ["Ok(())", "Ok(())"]);
    assert_eq!(bench.read_memory(0x1800, 3), b"abc");
    assert_eq!(bench.read_memory(0x1900, 5), b"defgh");
    assert_eq!(bench.messages_sent(), 0);
}

#[test]
fn a_read_with_a_write_comes_behind_it() {
    for by_message in [false, true] {
        let (bench, log) = bench(|bus, address| {
            bus.spawn(async move |task: Task<Starter>| {
                let places = [(address, 3), (address + 0x100, 2)];
                let places = places.map(|(address, length)| Segment { address, length });
                let mut bytes = [0; 5];
                let from = [places[1], places[0]];
                let done = task.scatter_then_gather(&places, b"abcde", &from, &mut bytes).await;
                note(&task, format!("{done:?} {}", String::from_utf8_lossy(&bytes)));
            });
        });
        let mut bench = if by_message { bench.by_message().unwrap() } else { bench };
        bench.hold_messages(true);
        bench.write(0, 0, 4, 0x1000);
        assert_eq!(bench.messages_waiting(), if by_message { 4 } else { 0 });
        bench.hold_messages(false);
        assert_eq!(taken(&log), ["Ok(()) deabc"]);
    }
}

#[test]
fn places_that_need_messages_are_requested_together() {
    let (bench, log) = bench(copy);
    let mut bench = bench.by_message().unwrap();
    bench.write_memory(0x1000, b"abc");
    bench.write_memory(0x1100, b"defgh");
    bench.hold_messages(true);
    bench.write(0, 0, 4, 0x1000);
    assert_eq!((bench.messages_waiting(), taken(&log).len()), (2, 0));
    bench.hold_messages(false);
    assert_eq!(taken(&log), ["Ok(())", "Ok(())"]);
    assert_eq!(bench.messages_sent(), 4);
    assert_eq!(bench.read_memory(0x1800, 3), b"abc");
    assert_eq!(bench.read_memory(0x1900, 5), b"defgh");
}

#[test]
fn an_access_goes_on_by_message_where_mapped_memory_ends() {
    let (mut bench, log) = bench(copy);
    assert!(bench.unmap_memory(0, 1 << 20));
    bench.map_memory(0x1000, 0x1000, true).unwrap();
    bench.function.bus.memory.map(0x2000, 0x1000, DmaMapFlags::all(), None).unwrap();
    bench.write_memory(0x1ffe, b"abcdefgh");
    bench.write_memory(0x20fe, b"ijklm");
    bench.write(0, 0, 4, 0x1ffe);
    assert_eq!(taken(&log), ["Ok(())", "Ok(())"]);
    assert_eq!(bench.read_memory(0x27fe, 3), b"abc");
    assert_eq!(bench.read_memory(0x28fe, 5), b"ijklm");
    assert_eq!(bench.messages_sent(), 4);
}

#[test]
fn memory_that_is_not_there_is_an_error() {
    let (mut bench, log) = bench(copy);
    bench.write(0, 0, 4, 0x10_0000 - 2);
    let missing = format!("{:?}", Err::<(), _>(DmaError::NotMapped { address: 0x10_0000 }));
    assert_eq!(taken(&log)[0], missing);
    bench.write_config(4, 2, 0x03);
    bench.write(0, 0, 4, 0x1000);
    assert_eq!(taken(&log), ["Err(NotBusMaster)", "Err(NotBusMaster)"]);
}

#[test]
fn a_long_copy_lets_registers_have_their_turn() {
    let (mut bench, _log) = bench(|bus, _| {
        bus.spawn(async |task: Task<Starter>| {
            let (mut bytes, mut rounds) = (vec![0; 1 << 20], 0);
            let mut read = pin!(task.read(0, &mut bytes));
            let counted = poll_fn(|context| {
                rounds += 1;
                read.as_mut().poll(context)
            });
            assert_eq!(counted.await, Ok(()));
            task.with(|device, _| device.value = rounds);
        });
    });
    bench.write_memory(0, &vec![7; 1 << 20]);
    bench.write(0, 0, 4, 0);
    assert_eq!(bench.read(0, 0, 4), 16, "rounds of 64 KiB each");
}

#[test]
fn a_task_sleeps_until_its_time_has_come() {
    let (mut bench, log) = bench(|bus, seconds| {
        bus.spawn(async move |task: Task<Starter>| {
            task.sleep(Duration::from_secs(seconds)).await;
            note(&task, format!("{seconds}"));
        });
    });
    bench.write(0, 0, 4, 300);
    bench.write(0, 0, 4, 200);
    assert!(bench.timer_in().unwrap() > Duration::from_secs(100));
    assert!(taken(&log).is_empty());
    assert!(bench.fire_timer());
    assert_eq!(taken(&log), ["200"]);
    assert!(bench.fire_timer());
    assert_eq!(taken(&log), ["300"]);
    assert!(!bench.fire_timer());
}

#[test]
fn a_task_waits_for_a_change_of_its_device() {
    let (mut bench, log) = bench(|bus, wanted| {
        bus.spawn(async move |task: Task<Starter>| {
            let value = task.until(|device, _| Some(device.value).filter(|value| *value >= wanted));
            let value = value.await;
            note(&task, format!("{wanted}: {value}"));
        });
    });
    bench.write(0, 0, 4, 3);
    bench.write(0, 0, 4, 5);
    bench.write(0, 4, 4, 2);
    assert!(taken(&log).is_empty());
    bench.write(0, 4, 4, 4);
    assert_eq!(taken(&log), ["3: 4"]);
    bench.write(0, 4, 4, 5);
    assert_eq!(taken(&log), ["5: 5"]);
}

#[test]
fn work_that_blocks_is_done_in_another_thread() {
    let (mut bench, log) = bench(|bus, value| {
        bus.spawn(async move |task: Task<Starter>| {
            let here = std::thread::current().id();
            let work = move || (value + 1, std::thread::current().id() != here);
            let done = task.offload(work).await.unwrap();
            note(&task, format!("{done:?}"));
        });
    });
    for value in [1, 2] {
        bench.write(0, 0, 4, value);
        while taken(&log).is_empty() {
            assert!(bench.wait_for_waker(Duration::from_secs(60)));
        }
    }
}

/// A task that waits for ever, by what the guest has chosen.
fn wait_for_ever(bus: &mut Bus, how: u64) {
    bus.spawn(async move |task: Task<Starter>| {
        match how {
            0 => task.sleep(Duration::from_secs(1000)).await,
            1 => task.until(|_, _| None).await,
            _ => {
                let result = task.read(0, &mut [0; 4]).await;
                note(&task, format!("{result:?}"));
                task.sleep(Duration::from_secs(1000)).await;
            }
        }
        note(&task, "it goes on");
    });
}

#[test]
fn a_reset_drops_tasks() {
    let (bench, log) = bench(wait_for_ever);
    let mut bench = bench.by_message().unwrap();
    bench.hold_messages(true);
    (0..3).for_each(|how| bench.write(0, 0, 4, how));
    bench.reset();
    bench.hold_messages(false);
    bench.write(0, 4, 4, 1);
    assert!(!bench.fire_timer());
    assert!(taken(&log).is_empty());
}

#[test]
fn a_device_drops_its_tasks() {
    let (bench, log) = bench(wait_for_ever);
    let mut bench = bench.by_message().unwrap();
    bench.hold_messages(true);
    (0..3).for_each(|how| bench.write(0, 0, 4, how));
    bench.write(0, 8, 4, 0);
    bench.hold_messages(false);
    assert!(!bench.fire_timer());
    bench.write(0, 0, 4, 2);
    assert_eq!(taken(&log), ["Ok(())"], "new tasks run");
}

#[test]
fn a_disconnect_ends_accesses_and_then_tasks() {
    let (bench, log) = bench(wait_for_ever);
    let mut bench = bench.by_message().unwrap();
    bench.hold_messages(true);
    (0..3).for_each(|how| bench.write(0, 0, 4, how));
    bench.reconnect().unwrap();
    assert_eq!(taken(&log), ["Err(Disconnected)", "disconnected"]);
    bench.hold_messages(false);
    assert!(!bench.fire_timer());
    assert!(taken(&log).is_empty());
}

#[test]
fn a_task_that_cancels_all_tasks_ends_at_its_next_wait() {
    let (mut bench, log) = bench(|bus, _| {
        bus.spawn(async |task: Task<Starter>| {
            task.with(|_, bus| {
                bus.cancel_tasks();
                bus.spawn(async |task: Task<Starter>| note(&task, "the next"));
            });
            note(&task, "still here");
            task.sleep(Duration::ZERO).await;
            note(&task, "it goes on");
        });
    });
    bench.write(0, 0, 4, 0);
    assert_eq!(taken(&log), ["still here", "the next"]);
}

#[test]
fn a_task_finds_its_device_in_any_number_of_boxes() {
    let log = Log::default();
    let device = Starter { start: copy, log: Arc::clone(&log), value: 0 };
    let boxed: Box<dyn Device> = Box::new(device);
    let mut bench = TestBench::new(Box::new(boxed) as Box<dyn Device>).unwrap();
    bench.write(0, 0, 4, 0);
    assert_eq!(taken(&log).len(), 2);
}

#[test]
#[should_panic(expected = "Task: used within Task::with")]
fn a_task_is_not_borrowed_twice() {
    let (mut bench, _log) = bench(|bus, _| {
        bus.spawn(async |task: Task<Starter>| task.with(|_, _| task.with(|_, _| ())));
    });
    bench.write(0, 0, 4, 0);
}

#[test]
fn a_guest_cannot_start_tasks_without_end() {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let (mut bench, _log) = bench(|bus, _| {
        bus.spawn(async |task: Task<Starter>| {
            STARTED.fetch_add(1, Relaxed);
            task.until(|_, _| None::<()>).await;
        });
    });
    (0..2000).for_each(|_| bench.write(0, 0, 4, 0));
    assert_eq!(STARTED.load(Relaxed), 1024);
}

#[test]
fn a_panic_of_a_task_disables_the_device() {
    let start: Start = |bus, _| bus.spawn(async |_: Task<Starter>| panic!("on purpose"));
    let device = Box::new(Starter { start, log: Log::default(), value: 7 });
    let mut function = PciFunction::new(device, OnPanic::Disable).unwrap();
    function.write(0, 0, &[0; 4]);
    assert!(function.panic().is_none());
    function.run_tasks();
    assert!(function.panic().unwrap().contains("on purpose"));
    let mut bytes = [0; 4];
    function.read(0, 0, &mut bytes);
    assert_eq!(bytes, [0xff; 4]);
    assert!(!function.bus.tasks.is_ready());
}
