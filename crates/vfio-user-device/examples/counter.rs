//! A whole device in one file: a register that counts how often it was read, and one that sets it.
//!
//! `cargo run -p vfio-user-kit --example counter -- --socket-path /tmp/counter.sock`, then attach a
//! QEMU to the socket; or see it in a guest at once: `./scripts/lab.sh --device
//! server/vfio-user/examples/counter.rs`.

use std::process::ExitCode;

use vfio_user_kit::{Access, Bar, Bus, Description, Device, Identity, Register};

const COUNT: u64 = 0x0;
const START: u64 = 0x4;

#[derive(Default)]
struct Counter {
    reads: u64,
}

impl Device for Counter {
    fn describe(&self) -> Description {
        let registers = [Register::new("COUNT", COUNT, 4), Register::new("START", START, 4)];
        Description::new(Identity::new(0x1234, 0xc0de))
            .bar(0, Bar::memory32(4096).registers(&registers))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        match access.offset {
            COUNT => {
                self.reads += 1;
                self.reads
            }
            _ => 0,
        }
    }

    fn write(&mut self, _bus: &mut Bus, access: Access, value: u64) {
        if access.offset == START {
            self.reads = value;
        }
    }

    fn reset(&mut self, _bus: &mut Bus) {
        self.reads = 0;
    }
}

fn main() -> ExitCode {
    vfio_user_kit::main(Counter::default())
}
