//! A device with one of everything, for tests: registers, DMA, all kinds of interrupts, mappable
//! memory, a timer.
//!
//! | BAR | kind | contents |
//! | --- | --- | --- |
//! | 0 | 4 KiB memory | the registers below |
//! | 1 | 4 KiB memory | MSI-X: table at 0, pending bits at 0x800, 40 vectors |
//! | 2, 3 | 16 KiB 64-bit prefetchable memory | two mappable pages, the second and the fourth |
//! | 4 | 8 KiB memory | mappable as a whole |
//! | 5 | 32 I/O ports | one register |

use std::time::Duration;

use vfio_user_device::serde::{Deserialize, Serialize};
use vfio_user_device::{
    Access, Bar, Bus, Device, DeviceConfig, DeviceState, DmaCompletion, DmaError, Identity, Msix,
    StateError, Width,
};

/// Reads back what was written.
pub const SCRATCH: u64 = 0x00;
/// Address of the next access to guest memory, 64 bits.
pub const ADDRESS: u64 = 0x08;
/// Its length in bytes.
pub const LENGTH: u64 = 0x10;
/// The byte that writes to guest memory consist of.
pub const FILL: u64 = 0x14;
/// Starts an access when written: [`READ`] or [`WRITE`].
pub const DOORBELL: u64 = 0x18;
/// Number of accesses that have ended.
pub const DONE: u64 = 0x1c;
/// How the last one ended: 0, an errno of the client, or one of the codes from 0x1000 on.
pub const STATUS: u64 = 0x20;
/// Sum of the bytes that the last read returned.
pub const SUM: u64 = 0x24;
/// Level of the interrupt pin.
pub const PIN: u64 = 0x28;
/// Raises the MSI or MSI-X vector that is written.
pub const RAISE: u64 = 0x2c;
/// Number of resets.
pub const RESETS: u64 = 0x30;
/// Starts a timer: milliseconds in the low half, its number in the high one.
pub const TIMER: u64 = 0x34;
/// How often it fired. Each time it raises [`TIMER_VECTOR`], too.
pub const FIRED: u64 = 0x38;
/// The numbers of the timers that fired, one hexadecimal digit each, the last one at the end.
pub const FIRED_ORDER: u64 = 0x40;
/// The device panics when this is written, if it [may](Everything::that_may_panic).
pub const PANIC: u64 = 0x3c;

/// Doorbell: read guest memory.
pub const READ: u32 = 1;
/// Doorbell: write guest memory.
pub const WRITE: u32 = 2;

/// Bus mastering is off.
pub const NOT_BUS_MASTER: u32 = 0x1000;
/// No such guest memory.
pub const NOT_MAPPED: u32 = 0x1001;
/// Not this way.
pub const NOT_PERMITTED: u32 = 0x1002;
/// The file was truncated.
pub const TRUNCATED: u32 = 0x1003;
/// The client has gone.
pub const DISCONNECTED: u32 = 0x1004;
/// Refused at once.
pub const NOT_QUEUED: u32 = 0x1005;

/// Number of MSI-X vectors.
pub const VECTORS: u16 = 40;

/// Number of MSI vectors.
pub const MSI_VECTORS: u16 = 32;

/// The MSI-X vector of the timer.
pub const TIMER_VECTOR: u16 = VECTORS - 1;

/// The device.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(crate = "vfio_user_device::serde", deny_unknown_fields)]
pub struct Everything {
    scratch: u32,
    address: u64,
    length: u32,
    fill: u8,
    done: u32,
    status: u32,
    sum: u32,
    pin: bool,
    resets: u32,
    fired: u32,
    fired_order: u32,
    may_panic: bool,
    /// The access that was started last, if it has not ended.
    running: u32,
}

impl Everything {
    /// A device whose register [`PANIC`] does what its name says.
    pub fn that_may_panic() -> Self {
        Everything { may_panic: true, ..Everything::default() }
    }

    fn doorbell(&mut self, bus: &mut Bus, command: u32) {
        // Larger than any message, so that accesses come in pieces.
        let length = self.length.min(2 << 20) as usize;
        let queued = match command {
            READ => bus.dma_read(self.address, length, READ.into()),
            WRITE => bus.dma_write(self.address, vec![self.fill; length], WRITE.into()),
            _ => return,
        };
        self.running = command;
        if queued.is_err() {
            self.status = NOT_QUEUED;
            self.running = 0;
        }
    }
}

impl Device for Everything {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0x1234, 0x7e57).revision(3))
            .bar(0, Bar::memory32(4096).max_access_width(Width::Qword))
            .bar(1, Bar::memory32(4096))
            .bar(
                2,
                Bar::memory64(0x4000)
                    .prefetchable()
                    .mmap_area(0x1000..0x2000)
                    .mmap_area(0x3000..0x4000),
            )
            .bar(4, Bar::memory32(0x2000).mmap_area(0..0x2000))
            .bar(5, Bar::io(32))
            .interrupt_pin()
            .msix(Msix { vectors: VECTORS, bar: 1, table: 0, pba: 0x800 })
            .msi(MSI_VECTORS)
            .capability(0x09, vec![4, 0xab])
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        if access.bar != 0 {
            return 0;
        }
        match access.offset {
            SCRATCH => self.scratch.into(),
            ADDRESS => self.address,
            LENGTH => self.length.into(),
            DONE => self.done.into(),
            STATUS => self.status.into(),
            SUM => self.sum.into(),
            PIN => self.pin.into(),
            RESETS => self.resets.into(),
            FIRED => self.fired.into(),
            FIRED_ORDER => self.fired_order.into(),
            _ => 0,
        }
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        if access.bar != 0 {
            return;
        }
        let low = value as u32;
        match access.offset {
            SCRATCH => self.scratch = low,
            ADDRESS => self.address = value,
            LENGTH => self.length = low,
            FILL => self.fill = value as u8,
            DOORBELL => self.doorbell(bus, low),
            PIN => {
                self.pin = low & 1 != 0;
                bus.set_intx(self.pin);
            }
            RAISE => bus.signal_vector(value as u16),
            TIMER => bus.set_timer(low >> 16, Duration::from_millis(value & 0xffff)),
            PANIC if self.may_panic => panic!("the test wants it so"),
            _ => {}
        }
    }

    fn reset(&mut self, _bus: &mut Bus) {
        let (resets, may_panic) = (self.resets + 1, self.may_panic);
        *self = Everything { resets, may_panic, ..Everything::default() };
    }

    fn on_timer(&mut self, bus: &mut Bus, id: u32) {
        self.fired += 1;
        self.fired_order = self.fired_order << 4 | id & 0xf;
        bus.signal_vector(TIMER_VECTOR);
    }

    fn on_dma_complete(&mut self, _bus: &mut Bus, done: DmaCompletion) {
        self.done += 1;
        self.running = 0;
        self.status = match done.result {
            Ok(bytes) => {
                if done.tag == u64::from(READ) {
                    self.sum = bytes.iter().map(|byte| u32::from(*byte)).sum();
                }
                0
            }
            Err(DmaError::NotBusMaster) => NOT_BUS_MASTER,
            Err(DmaError::NotMapped { .. }) => NOT_MAPPED,
            Err(DmaError::NotPermitted { .. }) => NOT_PERMITTED,
            Err(DmaError::Truncated { .. }) => TRUNCATED,
            Err(DmaError::Refused { errno, .. }) => errno.unsigned_abs(),
            Err(DmaError::Disconnected) => DISCONNECTED,
            Err(_) => NOT_QUEUED,
        };
    }
    fn save(&self) -> Result<DeviceState, StateError> {
        DeviceState::of(self)
    }

    fn restore(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        *self = state.get()?;
        self.doorbell(bus, self.running);
        Ok(())
    }
}
