//! `edu`, the educational device that QEMU has and driver courses use (PCI 1234:11e8), in one file:
//! registers, a computation that takes time, interrupts by pin and by MSI, DMA.
//!
//! What it does is published in QEMU's `docs/specs/edu.rst`; a guest cannot tell the two apart. See
//! it in one: `./scripts/lab.sh --device server/vfio-user/examples/edu.rs`.
//!
//! No verb of a device waits. What takes time is begun in one verb, and ends in another: the
//! factorial with a timer, a transfer with another one and then with `dma_done`.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use vfio_user_kit::{
    Access, Bar, Bus, Description, Device, DmaDone, Identity, Register, Width, log,
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
// The timers.
const FACTORIAL_TIMER: u32 = 0;
const TRANSFER_TIMER: u32 = 1;

/// The device has 28 address lines. Higher bits of a guest's address are lost.
const ADDRESS_BITS: u64 = (1 << 28) - 1;

/// The device. All registers are numbers of 64 bits here: of an answer, the kit drops what is too
/// much for the guest's access.
struct Edu {
    liveness: u64,
    factorial: u64,
    status: u64,
    interrupt_status: u64,
    dma: Transfer,
    buffer: [u8; BUFFER_SIZE],
}

/// The DMA registers.
#[derive(Clone, Copy, Default)]
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

impl Edu {
    fn new() -> Self {
        Edu {
            liveness: 0,
            factorial: 0,
            status: 0,
            interrupt_status: 0,
            dma: Transfer::default(),
            buffer: [0; BUFFER_SIZE],
        }
    }

    /// Interrupts the guest, by MSI if its driver uses that, else by the pin.
    fn interrupt(&mut self, bus: &mut Bus, causes: u64) {
        self.interrupt_status |= causes;
        if self.interrupt_status == 0 {
            return;
        }
        if bus.messages_enabled() {
            bus.raise(0);
        } else {
            bus.set_interrupt_pin(true);
        }
    }

    /// A driver has taken notice. The pin stays up until nothing is left.
    fn acknowledge(&mut self, bus: &mut Bus, causes: u64) {
        self.interrupt_status &= !causes;
        if self.interrupt_status == 0 {
            bus.set_interrupt_pin(false);
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
            bus.set_timer(TRANSFER_TIMER, TRANSFER_TIME);
        }
    }

    /// The time of the transfer has come: asks for the access to the guest's memory.
    fn transfer(&mut self, bus: &mut Bus) {
        let Some(range) = self.dma.buffer_range() else {
            let Transfer { source, destination, count, .. } = self.dma;
            log::info!(
                "DMA of {count} bytes from {source:#x} to {destination:#x}: the buffer has \
                 {BUFFER_SIZE:#x} bytes at {BUFFER:#x}"
            );
            return self.end_transfer(bus);
        };
        let address = self.dma.guest_address();
        let begun = if self.dma.goes_to_guest() {
            bus.dma_write(address, self.buffer[range].to_vec(), 0)
        } else {
            bus.dma_read(address, range.len(), 0)
        };
        if begun.is_err() {
            self.end_transfer(bus);
        }
    }

    fn end_transfer(&mut self, bus: &mut Bus) {
        self.dma.command &= !RUN;
        if self.dma.command & INTERRUPT_AFTER_DMA != 0 {
            self.interrupt(bus, DMA_DONE);
        }
    }
}

impl Device for Edu {
    fn describe(&self) -> Description {
        Description::new(Identity::new(0x1234, 0x11e8).revision(0x10))
            .bar(0, Bar::memory32(1 << 20).widest(Width::Qword).registers(&REGISTERS))
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

    fn timer(&mut self, bus: &mut Bus, id: u32) {
        match id {
            FACTORIAL_TIMER => self.end_factorial(bus),
            TRANSFER_TIMER => self.transfer(bus),
            _ => {}
        }
    }

    /// The transfer has ended, and if it was a read, here are the bytes.
    fn dma_done(&mut self, bus: &mut Bus, done: DmaDone) {
        match (done.result, self.dma.buffer_range()) {
            (Ok(bytes), Some(range)) if !self.dma.goes_to_guest() => {
                self.buffer[range].copy_from_slice(&bytes);
            }
            (Ok(_), _) => {}
            (Err(error), _) => log::info!("DMA: {error}"),
        }
        self.end_transfer(bus);
    }

    fn reset(&mut self, _bus: &mut Bus) {
        *self = Edu::new();
    }

    /// The next guest's memory is not what the transfer was meant for.
    fn disconnected(&mut self, bus: &mut Bus) {
        bus.cancel_timer(TRANSFER_TIMER);
        self.dma.command &= !RUN;
    }
}

/// The factorial's low 32 bits. That of 34 is a multiple of 2^32, and so are all after it, which
/// is why a large number takes no longer.
fn factorial(number: u64) -> u64 {
    (1..=number.min(34)).fold(1, |product, factor| (product * factor) & 0xffff_ffff)
}

fn main() -> ExitCode {
    vfio_user_kit::main(Edu::new())
}

#[cfg(test)]
#[path = "edu/tests.rs"]
mod tests;
