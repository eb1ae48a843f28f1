//! A device for a test in a guest: it reads as much guest memory at once as its driver wants, and
//! panics when it is told to.

use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, DmaCompletion, Identity, Register};

/// Write: reads so many bytes from ADDRESS on. Read: how the last access ended.
const LENGTH: u64 = 0x0;
/// Write: the device panics.
const PANIC: u64 = 0x4;
const ADDRESS: u64 = 0x8;

#[derive(Default)]
struct LongReader {
    address: u32,
    /// Bytes that were read; none while an access is under way, or all ones if it failed.
    read: u32,
}

impl Device for LongReader {
    fn config(&self) -> DeviceConfig {
        let register = |name, offset| Register::new(name, offset, 4);
        let registers =
            [register("LENGTH", LENGTH), register("PANIC", PANIC), register("ADDRESS", ADDRESS)];
        DeviceConfig::new(Identity::new(0x1234, 0xcafe))
            .bar(0, Bar::memory32(4096).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            LENGTH => self.read.into(),
            _ => 0,
        }
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        match access.offset {
            LENGTH => {
                let queued = bus.dma_read(self.address.into(), value as usize, 0);
                self.read = if queued.is_ok() { 0 } else { u32::MAX };
            }
            PANIC => panic!("the driver wants it so"),
            ADDRESS => self.address = value as u32,
            _ => {}
        }
    }

    fn on_dma_complete(&mut self, _bus: &mut Bus, done: DmaCompletion) {
        self.read = done.result.map_or(u32::MAX, |bytes| bytes.len() as u32);
    }
}

fn main() -> std::process::ExitCode {
    vfio_user_device::main(LongReader::default())
}
