//! The window to the BARs in configuration space.

use vfio_user_device::{Access, Bar, BarWindow, Bus, Device, DeviceConfig, Identity};

use crate::common::*;
use crate::served::RunningServer;

/// Counts how often its only register was written and read.
#[derive(Default)]
struct Counting {
    writes: u64,
    reads: u64,
}

/// Offsets of the window's fields in configuration space.
const BAR_OFFSET: u64 = 0x44;
const LENGTH: u64 = 0x48;
const DATA: u64 = 0x4c;

impl Device for Counting {
    fn config(&self) -> DeviceConfig {
        let window = BarWindow { bar: 2, offset: 4, length: 8, data: 12 };
        DeviceConfig::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096)).window_capability(
            9,
            vec![0; 14],
            window,
        )
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            0 => {
                self.reads += 1;
                self.writes
            }
            _ => self.reads,
        }
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {
        self.writes += 1;
    }
}

#[test]
fn no_bytes_within_the_window_are_no_access() {
    let server = RunningServer::new(Counting::default());
    let mut client = server.client();
    client.write_u32(CONFIG, BAR_OFFSET, 0);
    client.write_u32(CONFIG, LENGTH, 4);
    client.write_u32(CONFIG, DATA, 7);
    assert_eq!(client.read_u32(0, 0), 1);
    let nothing = Bytes::new().u64(1).u64(DATA + 1).u32(CONFIG).u32(0).u64(0);
    client.request(REGION_WRITE_MULTI, &nothing.0).ok();
    client.request(REGION_WRITE, &region_write(CONFIG, DATA + 1, &[])).ok();
    client.request(REGION_READ, &access(CONFIG, DATA + 1, 0)).ok();
    assert_eq!((client.read_u32(0, 0), client.read_u32(0, 4)), (1, 2));
}
