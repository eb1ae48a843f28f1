//! A whole device in one file: a register that counts how often it was read, and one that sets it.
//!
//! `cargo run -p vfio-user-kit --example counter -- /tmp/counter.sock`, then attach a QEMU to the
//! socket. Enter ends it.

use std::error::Error;
use std::os::fd::AsFd;
use std::path::PathBuf;

use vfio_user_kit::{Access, Bar, Bus, Description, Device, Identity, Options, Register, Server};

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

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).map(PathBuf::from).ok_or("which socket path?")?;
    let server = Server::bind(&path, Counter::default(), Options::default())?;
    server.run(std::io::stdin().as_fd())?;
    Ok(())
}
