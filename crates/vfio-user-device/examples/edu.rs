//! `edu`, the educational device that QEMU has and driver courses use (PCI 1234:11e8), in one file:
//! registers, a computation that takes time, interrupts by pin and by MSI, DMA.
//!
//! What it does is published in QEMU's `docs/specs/edu.rst`; a guest cannot tell the two apart. See
//! it in one: `./scripts/lab.sh --device crates/vfio-user-device/examples/edu.rs`.
//!
//! No callback of a device waits. What takes time is begun in one callback and ends elsewhere: the
//! factorial in `on_timer`, a transfer in a task, which may wait.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use vfio_user_device::serde::{Deserialize, Serialize};
use vfio_user_device::{
    Access, Bar, Bus, Device, DeviceConfig, DeviceState, DmaError, Identity, Register, StateError,
    Task, Width, log,
};

// Offsets in BAR 0. Up to here, 4-byte registers:
const IDENTIFICATION: u64 = 0x00;
const LIVENESS: u64 = 0x04;
const FACTORIAL: u64 = 0x08;
const STATUS: u64 = 0x20;
const INTERRUPT_STATUS: u64 = 0x24;
const INTERRUPT_RAISE: u64 = 0x60;
const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
// and from here on 8-byte registers, which take accesses of 4 bytes, too.
const DMA_SOURCE: u64 = 0x80;
const DMA_DESTINATION: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;

const REGISTERS: [Register; 11] = [
    Register::new("IDENTIFICATION", IDENTIFICATION, 4),
    Register::new("LIVENESS", LIVENESS, 4),
    Register::new("FACTORIAL", FACTORIAL, 4),
    Register::new("STATUS", STATUS, 4),
    Register::new("INTERRUPT_STATUS", INTERRUPT_STATUS, 4),
    Register::new("INTERRUPT_RAISE", INTERRUPT_RAISE, 4),
    Register::new("INTERRUPT_ACKNOWLEDGE", INTERRUPT_ACKNOWLEDGE, 4),
    Register::new("DMA_SOURCE", DMA_SOURCE, 8),
    Register::new("DMA_DESTINATION", DMA_DESTINATION, 8),
    Register::new("DMA_COUNT", DMA_COUNT, 8),
    Register::new("DMA_COMMAND", DMA_COMMAND, 8),
];

/// What IDENTIFICATION says: version 1.0 of an "ed(u)".
const VERSION: u64 = 0x0100_00ed;
/// What a read of no register says.
const NOTHING: u64 = u64::MAX;

/// STATUS: the factorial is being computed.
const COMPUTING: u64 = 0x01;
/// STATUS: interrupt when the factorial is there.
const INTERRUPT_AFTER_FACTORIAL: u64 = 0x80;

/// DMA_COMMAND: begin; reads as set until the transfer has ended.
const RUN: u64 = 0x1;
/// DMA_COMMAND: from the device's buffer to the guest's memory, and not the other way.
const TO_GUEST: u64 = 0x2;
/// DMA_COMMAND: interrupt at the end.
const INTERRUPT_AFTER_DMA: u64 = 0x4;

/// INTERRUPT_STATUS: the factorial is there.
const FACTORIAL_DONE: u64 = 0x001;
/// INTERRUPT_STATUS: the transfer has ended.
const DMA_DONE: u64 = 0x100;

/// Where the device's own buffer begins, as DMA_SOURCE and DMA_DESTINATION name it. Registers are
/// all that the BAR holds: the buffer is reached by DMA alone.
const BUFFER: u64 = 0x40000;
const BUFFER_SIZE: usize = 4096;
/// Long enough for a driver to see that it has to wait.
const FACTORIAL_TIME: Duration = Duration::from_millis(1);
/// What a transfer takes in QEMU, too.
const TRANSFER_TIME: Duration = Duration::from_millis(100);
/// The only timer.
const FACTORIAL_TIMER: u32 = 0;

/// The device has 28 address lines. Higher bits of a guest's address are lost.
const ADDRESS_BITS: u64 = (1 << 28) - 1;

/// The device. All registers are numbers of 64 bits here: of an answer, the kit drops what is too
/// much for the guest's access.
#[derive(Serialize, Deserialize)]
#[serde(crate = "vfio_user_device::serde", deny_unknown_fields)]
pub struct Edu {
    liveness: u64,
    factorial: u64,
    status: u64,
    interrupt_status: u64,
    dma: Transfer,
    /// The time of the transfer is over.
    moving: bool,
    buffer: Vec<u8>,
}

/// The DMA registers.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(crate = "vfio_user_device::serde", deny_unknown_fields)]
struct Transfer {
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
}

impl Transfer {
    fn running(&self) -> bool {
        self.command & RUN != 0
    }

    fn goes_to_guest(&self) -> bool {
        self.command & TO_GUEST != 0
    }

    /// The place in guest memory.
    fn guest_address(&self) -> u64 {
        let address = if self.goes_to_guest() { self.destination } else { self.source };
        if address > ADDRESS_BITS {
            log::info!("DMA: only the low 28 bits of the guest's address {address:#x} count");
        }
        address & ADDRESS_BITS
    }

    /// The place in the device's buffer, if it holds all of it.
    fn buffer_range(&self) -> Option<Range<usize>> {
        let place = if self.goes_to_guest() { self.source } else { self.destination };
        let start = usize::try_from(place.checked_sub(BUFFER)?).ok()?;
        let end = start.checked_add(usize::try_from(self.count).ok()?)?;
        (end <= BUFFER_SIZE).then_some(start..end)
    }
}

impl Default for Edu {
    /// The device as it is switched on.
    fn default() -> Self {
        Edu {
            liveness: 0,
            factorial: 0,
            status: 0,
            interrupt_status: 0,
            dma: Transfer::default(),
            moving: false,
            buffer: vec![0; BUFFER_SIZE],
        }
    }
}

impl Edu {
    /// Interrupts the guest, by MSI if its driver uses that, else by the pin.
    fn interrupt(&mut self, bus: &mut Bus, causes: u64) {
        self.interrupt_status |= causes;
        if self.interrupt_status == 0 {
            return;
        }
        if bus.msi_enabled() {
            bus.signal_vector(0);
        } else {
            bus.set_intx(true);
        }
    }

    /// A driver has taken notice. The pin stays up until nothing is left.
    fn acknowledge(&mut self, bus: &mut Bus, causes: u64) {
        self.interrupt_status &= !causes;
        if self.interrupt_status == 0 {
            bus.set_intx(false);
        }
    }

    fn begin_factorial(&mut self, bus: &mut Bus, number: u64) {
        if self.status & COMPUTING == 0 {
            self.factorial = number;
            self.status |= COMPUTING;
            bus.set_timer(FACTORIAL_TIMER, FACTORIAL_TIME);
        }
    }

    fn end_factorial(&mut self, bus: &mut Bus) {
        self.factorial = factorial(self.factorial);
        self.status &= !COMPUTING;
        if self.status & INTERRUPT_AFTER_FACTORIAL != 0 {
            self.interrupt(bus, FACTORIAL_DONE);
        }
    }

    fn begin_transfer(&mut self, bus: &mut Bus, command: u64) {
        if !self.dma.running() && command & RUN != 0 {
            self.dma.command = command;
            bus.spawn(transfer);
        }
    }

    fn end_transfer(&mut self, bus: &mut Bus) {
        self.dma.command &= !RUN;
        self.moving = false;
        if self.dma.command & INTERRUPT_AFTER_DMA != 0 {
            self.interrupt(bus, DMA_DONE);
        }
    }
}

/// A transfer, from the command to the interrupt.
async fn transfer(task: Task<Edu>) {
    task.sleep(TRANSFER_TIME).await;
    task.with(|edu, _| edu.moving = true);
    finish(task).await;
}

/// What is left of it when its time is over.
async fn finish(task: Task<Edu>) {
    if let Err(error) = copy(&task).await {
        log::info!("DMA: {error}");
    }
    task.with(Edu::end_transfer);
}

/// Copies between the buffer and the guest's memory. The registers stay as they are meanwhile.
async fn copy(task: &Task<Edu>) -> Result<(), DmaError> {
    let (dma, mut buffer) = task.with(|edu, _| (edu.dma, edu.buffer.clone()));
    let Some(range) = dma.buffer_range() else {
        let Transfer { source, destination, count, .. } = dma;
        log::info!(
            "DMA of {count} bytes from {source:#x} to {destination:#x}: the buffer has \
             {BUFFER_SIZE:#x} bytes at {BUFFER:#x}"
        );
        return Ok(());
    };
    if dma.goes_to_guest() {
        return task.write(dma.guest_address(), &buffer[range]).await;
    }
    task.read(dma.guest_address(), &mut buffer[range]).await?;
    task.with(|edu, _| edu.buffer = buffer);
    Ok(())
}

impl Device for Edu {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0x1234, 0x11e8).revision(0x10))
            .bar(0, Bar::memory32(1 << 20).max_access_width(Width::Qword).registers(&REGISTERS))
            .interrupt_pin()
            .msi(1)
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match (access.width, access.offset) {
            // QEMU never lets these through to its own, and they read as 0.
            (Width::Byte | Width::Word, _) => 0,
            (Width::Qword, ..DMA_SOURCE) => NOTHING,
            (_, IDENTIFICATION) => VERSION,
            (_, LIVENESS) => self.liveness,
            (_, FACTORIAL) => self.factorial,
            (_, STATUS) => self.status,
            (_, INTERRUPT_STATUS) => self.interrupt_status,
            (_, DMA_SOURCE) => self.dma.source,
            (_, DMA_DESTINATION) => self.dma.destination,
            (_, DMA_COUNT) => self.dma.count,
            (_, DMA_COMMAND) => self.dma.command,
            _ => NOTHING,
        }
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        match (access.width, access.offset) {
            (Width::Byte | Width::Word, _) | (Width::Qword, ..DMA_SOURCE) => {}
            (_, LIVENESS) => self.liveness = !value,
            (_, FACTORIAL) => self.begin_factorial(bus, value),
            (_, STATUS) => {
                let computing = self.status & COMPUTING;
                self.status = computing | value & INTERRUPT_AFTER_FACTORIAL;
            }
            (_, INTERRUPT_RAISE) => self.interrupt(bus, value),
            (_, INTERRUPT_ACKNOWLEDGE) => self.acknowledge(bus, value),
            (_, DMA_COMMAND) => self.begin_transfer(bus, value),
            // The transfer that runs has its registers for itself.
            _ if self.dma.running() => {}
            (_, DMA_SOURCE) => self.dma.source = value,
            (_, DMA_DESTINATION) => self.dma.destination = value,
            (_, DMA_COUNT) => self.dma.count = value,
            _ => {}
        }
    }

    fn on_timer(&mut self, bus: &mut Bus, _id: u32) {
        self.end_factorial(bus);
    }

    fn reset(&mut self, _bus: &mut Bus) {
        *self = Edu::default();
    }

    /// The transfer has ended with its task: the next guest's memory is not what it was meant for.
    fn on_disconnect(&mut self, _bus: &mut Bus) {
        self.dma.command &= !RUN;
        self.moving = false;
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        DeviceState::of(self)
    }

    /// A transfer that was under way begins again: its task has not come along.
    fn restore(&mut self, bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        *self = state.get()?;
        self.buffer.resize(BUFFER_SIZE, 0);
        match (self.dma.running(), self.moving) {
            (true, true) => bus.spawn(finish),
            (true, false) => bus.spawn(transfer),
            (false, _) => {}
        }
        Ok(())
    }
}

/// The factorial's low 32 bits. That of 34 is a multiple of 2^32, and so are all after it, which
/// is why a large number takes no longer.
fn factorial(number: u64) -> u64 {
    (1..=number.min(34)).fold(1, |product, factor| (product * factor) & 0xffff_ffff)
}

pub(crate) fn main() -> ExitCode {
    vfio_user_device::main(Edu::default())
}

#[cfg(test)]
#[path = "edu/tests.rs"]
mod tests;

#[cfg(test)]
#[path = "edu/exchange_tests.rs"]
mod exchange_tests;
