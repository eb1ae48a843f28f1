//! Devices under a keeper: those whose own code ends the process, those that cannot say their state, and
//! one that is killed whatever it does.
//!
//! This program is both: with a command line of its own it is the test, and with that of a device's
//! program it is such a program.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]

mod common;
/// The whole example, with tests that are not run here.
#[allow(dead_code, unused_imports)]
#[path = "../examples/edu.rs"]
mod edu;

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use common::{Bytes, Client, DATA_EVENTFD, MSI, SET_IRQS, TRIGGER, wait_until};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use vfio_user_device::{
    Access, Bar, Bus, Device, DeviceConfig, DeviceState, Identity, StateError, serde,
};

/// The variable that says which device the program is of.
const DEVICE: &str = "KEPT_DEVICE";

/// Counts its reads.
const COUNT: u64 = 0x0;
/// Writing here ends the process, as a wrong pointer in C does.
const CRASH: u64 = 0x4;

/// A device that one write to it ends.
#[derive(Default, Serialize, Deserialize)]
#[serde(crate = "vfio_user_device::serde")]
struct Fragile {
    reads: u32,
    /// It can say its state.
    #[serde(skip)]
    saves: bool,
}

impl Device for Fragile {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0x1234, 0xdead)).bar(0, Bar::memory32(4096))
    }

    fn read(&mut self, _bus: &mut Bus, access: Access) -> u64 {
        if access.offset != COUNT {
            return 0;
        }
        self.reads += 1;
        self.reads.into()
    }

    fn write(&mut self, _bus: &mut Bus, access: Access, _value: u64) {
        if access.offset == CRASH {
            std::process::abort();
        }
    }

    fn save(&self) -> Result<DeviceState, StateError> {
        if self.saves { DeviceState::of(self) } else { Err(StateError::NotExchangeable) }
    }

    fn restore(&mut self, _bus: &mut Bus, state: &DeviceState) -> Result<(), StateError> {
        self.reads = state.get::<Fragile>()?.reads;
        Ok(())
    }
}

/// A program with such a device, and its keeper.
struct Program {
    folder: TempDir,
    keeper: Child,
}

impl Program {
    fn start(device: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--socket-path").arg(folder.path().join("s")).args(["--keeper", "-v"]);
        command.env(DEVICE, device);
        let keeper = command.stdin(Stdio::null()).stderr(log).spawn().unwrap();
        let program = Program { folder, keeper };
        let socket = program.folder.path().join("s");
        wait_until("the socket listens", || UnixStream::connect(&socket).is_ok());
        program
    }

    fn client(&self) -> Client {
        Client::negotiated(&self.folder.path().join("s"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn wait_for_log(&self, text: &str) {
        wait_until(&format!("the log says {text:?}"), || self.log().contains(text));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        // Its child ends with it.
        let _ = self.keeper.kill();
        let _ = self.keeper.wait();
    }
}

fn a_device_that_crashes_five_times_in_a_row_stays_down_with_the_reason() {
    let program = Program::start("fragile");
    let mut client = program.client();
    assert_eq!(client.read_u32(0, COUNT), 1);
    // The write is carried out again and again, and answered in the end.
    client.write_u32(0, CRASH, 1);
    assert_eq!(client.read_u32(0, COUNT), u32::MAX);
    program.wait_for_log("the device is disabled: the server crashed 5 times in a row in its code");
    assert_eq!(program.log().matches("was killed by signal 6; the keeper").count(), 5);
}

fn a_device_that_cannot_say_its_state_is_down_after_a_crash_and_its_client_stays() {
    let program = Program::start("stateless");
    let mut client = program.client();
    assert_eq!(client.read_u32(0, COUNT), 1);
    client.write_u32(0, CRASH, 1);
    assert_eq!(client.read_u32(0, COUNT), u32::MAX);
    program.wait_for_log("the device has no save and restore");
}

/// Registers of edu that a guest reads and writes.
const REGISTERS: [u64; 7] = [0x04, 0x08, 0x20, 0x60, 0x64, 0x80, 0x90];
const STATUS: u64 = 0x20;
const KILLS: u32 = 60;

fn edu_says_the_same_whenever_it_is_killed() {
    let programs = ["edu", "edu"].map(Program::start);
    let mut clients = programs.each_ref().map(Program::client);
    let mut killed = None;
    for step in 0..KILLS {
        // Of a sequence that looks random.
        let numbers = [1, 2, 3, 4].map(|write| (4 * step + write).wrapping_mul(2_654_435_761) >> 4);
        let seen = clients.each_mut().map(|client| {
            for number in numbers {
                let register = REGISTERS[number as usize % REGISTERS.len()];
                client.write_u32(0, register, number >> 8 & 0xff);
                // A number that is written before that is ignored.
                wait_until("the factorial is there", || client.read_u32(0, STATUS) & 1 == 0);
            }
            [0x00, 0x04, 0x08, 0x20, 0x24, 0x80, 0x90].map(|register| client.read_u32(0, register))
        });
        assert_eq!(seen[0], seen[1], "step {step}");
        killed = Some(common::kill_child_of(programs[0].keeper.id(), killed));
    }
}

fn edu_transfers_all_bytes_and_interrupts_whenever_it_is_killed() {
    let program = Program::start("edu");
    let client = &mut program.client();
    let (ram, vector) = (common::memory(0x10000), common::event());
    client.map(0, 0x10000, Some(&ram));
    client.write(7, 4, &[6, 0]);
    let irqs = common::set_irqs(DATA_EVENTFD | TRIGGER, MSI, 0, 1, &[]);
    client.request_with(SET_IRQS, &irqs, &[vector.as_fd()]).ok();
    let mut killed = None;
    let mut transfer = |source: u64, destination: u64, command: u64, wait| {
        for (index, value) in [source, destination, 64, command].into_iter().enumerate() {
            client.write(0, 0x80 + 8 * index as u64, &Bytes::new().u64(value).0);
        }
        // At its beginning, and where it is about to end.
        for pause in [0, wait] {
            std::thread::sleep(Duration::from_millis(pause));
            killed = Some(common::kill_child_of(program.keeper.id(), killed));
        }
        wait_for_cause(client, &vector, 0x100);
    };
    for round in 0..4_u8 {
        let sent = [round + 1; 64];
        rustix::io::pwrite(&ram, &sent, 0x100).unwrap();
        transfer(0x100, 0x40000, 5, 85 + 5 * u64::from(round));
        transfer(0x40000, 0x200, 7, 85 + 5 * u64::from(round));
        let mut received = [0; 64];
        rustix::io::pread(&ram, &mut received, 0x200).unwrap();
        assert_eq!(received, sent, "round {round}");
    }
}

/// Waits for an interrupt with this cause, and acknowledges it. One that was signalled just before a kill
/// is signalled again, then without a cause.
fn wait_for_cause(client: &mut Client, vector: &OwnedFd, cause: u32) {
    let mut found = 0;
    while found == 0 {
        common::wait_readable(vector, "the interrupt");
        common::signals(vector);
        found = client.read_u32(0, 0x24);
    }
    assert_eq!(found, cause);
    client.write_u32(0, 0x64, cause);
}

fn main() -> ExitCode {
    match std::env::var(DEVICE).as_deref() {
        Ok("edu") => return edu::main(),
        Ok(name) => return vfio_user_device::main(Fragile { reads: 0, saves: name == "fragile" }),
        Err(_) => {}
    }
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    a_device_that_crashes_five_times_in_a_row_stays_down_with_the_reason();
    a_device_that_cannot_say_its_state_is_down_after_a_crash_and_its_client_stays();
    edu_says_the_same_whenever_it_is_killed();
    edu_transfers_all_bytes_and_interrupts_whenever_it_is_killed();
    println!("devices that end their process: ok");
    ExitCode::SUCCESS
}
