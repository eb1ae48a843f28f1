//! A device that stands still, and one that another one's state is given to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::*;
use crate::{
    Access, Bar, Bus, Device, DeviceConfig, DeviceState, Identity, Task, TestBench, Waker,
};

/// A device that counts what happens to it.
#[derive(Clone, Default)]
struct Counting(Arc<AtomicU32>);

impl Counting {
    fn count(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Device for Counting {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096))
    }

    fn read(&mut self, bus: &mut Bus, _access: Access) -> u64 {
        bus.set_timer(7, Duration::from_secs(100));
        bus.spawn(async |task: Task<Counting>| {
            task.sleep(Duration::from_secs(50)).await;
            task.with(|device, _| device.0.fetch_add(1, Ordering::Relaxed));
        });
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}

    fn on_timer(&mut self, _bus: &mut Bus, _id: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn on_wake(&mut self, _bus: &mut Bus) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        DeviceState::of(&self.count())
    }

    fn restore(&mut self, _bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        self.0.store(state.get()?, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn nothing_happens_to_a_device_that_stands_still() {
    let device = Counting::default();
    let mut bench = TestBench::new(device.clone()).unwrap();
    bench.read(0, 0, 4);
    let waker = Waker::new().unwrap();
    bench.function.bus.wait_for(&waker);
    bench.function.migrate_to(MigrationState::Stop).unwrap();
    waker.wake();
    assert!(!bench.wait_for_waker(Duration::ZERO) && !bench.fire_timer());
    assert!(!bench.function.bus.is_ready() && bench.timer_in().is_none());
    assert_eq!(bench.read(0, 0, 4), 0xffff_ffff, "no register answers");
    assert_eq!(device.count(), 0);
    bench.function.migrate_to(MigrationState::Running).unwrap();
    assert!(bench.wait_for_waker(Duration::ZERO), "nothing was lost");
    assert!(bench.fire_timer() && bench.fire_timer());
    assert_eq!(device.count(), 3);
}

#[test]
fn the_time_of_the_standstill_is_none_for_timers_and_tasks() {
    let mut bench = TestBench::new(Counting::default()).unwrap();
    bench.read(0, 0, 4);
    let function = &mut bench.function;
    let due = |function: &PciFunction| {
        [function.bus.timers.next_due().unwrap(), function.bus.tasks.next_due().unwrap()]
    };
    let before = due(function);
    function.migrate_to(MigrationState::StopCopy).unwrap();
    let begun = Instant::now();
    std::thread::sleep(Duration::from_millis(2));
    let stopped = begun.elapsed();
    function.migrate_to(MigrationState::Running).unwrap();
    let after = due(function);
    assert!(before.iter().zip(after).all(|(before, after)| after >= *before + stopped));
}

#[test]
fn a_device_that_migrates_is_not_exchanged() {
    let mut bench = TestBench::new(Counting::default()).unwrap();
    bench.function.migrate_to(MigrationState::PreCopy).unwrap();
    let error = bench.exchange(Counting::default()).unwrap_err();
    assert!(matches!(error, StateError::Migrating), "{error}");
    bench.function.migrate_to(MigrationState::Running).unwrap();
    assert_eq!(bench.function.bus.memory.start_log(4096), Some(4096));
    assert!(matches!(bench.exchange(Counting::default()), Err(StateError::Migrating)));
    bench.function.bus.memory.stop_log();
    bench.exchange(Counting::default()).unwrap();
}

/// A device whose state has so many bytes.
struct Large(usize);

impl Device for Large {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2))
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}

    fn save(&self) -> Result<DeviceState, StateError> {
        DeviceState::of(&"x".repeat(self.0))
    }
}

#[test]
fn a_state_that_no_server_takes_is_not_given() {
    let mut bench = TestBench::new(Large(MAX_STATE_LEN)).unwrap();
    let error = bench.function.migrate_to(MigrationState::StopCopy).unwrap_err().to_string();
    assert!(error.contains("1048576 at most"), "{error}");
    assert_eq!(
        bench.function.migration_state(),
        MigrationState::Stop,
        "the way there was possible"
    );
    bench.function.migrate_to(MigrationState::Running).unwrap();
}

#[test]
fn accesses_to_mapped_memory_end_before_the_device_goes() {
    let mut bench = TestBench::new(Counting::default()).unwrap().with_memory(4096).unwrap();
    bench.function.bus.dma_write(0, vec![1; 3], 0).unwrap();
    bench.migrate(Counting::default()).unwrap();
    assert_eq!(bench.read_memory(0, 4), [1, 1, 1, 0]);
}
