//! A QEMU whose guest does not run: accesses come from its `qtest` protocol, which takes one a line
//! and answers each with a line. That is a hundred times faster than a program in a guest.

use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use lab::lines::Lines;
use lab::qemu::Qemu;
use lab::{Guest, RunDir};
use serde_json::Value;

use super::accesses::{Access, Kind};

/// Where the device is on the bus: a slot that a machine without default devices leaves free.
const SLOT: u32 = 4;
/// Where its BARs are put: beyond RAM and below the firmware, and among the I/O ports.
const MEMORY: u64 = 0xe000_0000;
const PORTS: u64 = 0xc000;
/// The ports of configuration space (PCI Local Bus Specification 3.0, section 3.2.2.3.2).
const CONFIG_ADDRESS: u64 = 0xcf8;
const CONFIG_DATA: u64 = 0xcfc;
const COMMAND: u32 = 4;
/// I/O ports and memory.
const ENABLE: u32 = 3;
/// Accesses that are sent before the first answer is read. QEMU stops to read when its answers are
/// not.
const BATCH: usize = 200;
/// How long QEMU may take for a batch on a loaded machine.
const TIMEOUT: Duration = Duration::from_secs(120);

/// The machine, with one device.
pub struct Machine<'run> {
    /// Ends with this value.
    _guest: Guest<'run>,
    lines: Lines,
}

impl<'run> Machine<'run> {
    /// Starts a QEMU with a device, whose BARs then answer.
    pub fn start(run: &'run RunDir, name: &str, qemu: &Qemu, mut device: Value) -> Self {
        device["addr"] = format!("{SLOT:#x}").into();
        let socket = format!("{name}-qtest.sock");
        let listener: UnixListener = run.listen(&socket).expect("a socket can be made");
        let guest = Guest::builder(run)
            .name(name)
            .qemu(qemu)
            .nothing_to_boot()
            .paused()
            .arguments(&["-qtest", &format!("unix:{socket}"), "-qtest-log", "none"])
            .device(&device)
            .start()
            .expect("QEMU starts");
        // It has connected before it greeted.
        let (stream, _) = listener.accept().expect("QEMU has connected");
        let mut machine = Self { _guest: guest, lines: Lines::new("QEMU", stream) };
        machine.place_bars();
        machine
    }

    /// As a machine's firmware does.
    fn place_bars(&mut self) {
        for (bar, address) in [(0, MEMORY), (1, PORTS)] {
            self.write_config(0x10 + 4 * bar, u32::try_from(address).expect("it fits"));
        }
        self.write_config(COMMAND, ENABLE);
    }

    fn write_config(&mut self, register: u32, value: u32) {
        let address = 0x8000_0000 | SLOT << 11 | register;
        self.ask(&[
            format!("outl {CONFIG_ADDRESS:#x} {address:#x}"),
            format!("outl {CONFIG_DATA:#x} {value:#x}"),
        ]);
    }

    /// Makes accesses one after the other; returns what QEMU answers to each: OK, and the value of a
    /// read.
    pub fn replay(&mut self, accesses: &[Access]) -> Vec<String> {
        let mut answers = Vec::with_capacity(accesses.len());
        for batch in accesses.chunks(BATCH) {
            let commands: Vec<String> = batch.iter().map(command).collect();
            answers.extend(self.ask(&commands));
        }
        answers
    }

    fn ask(&mut self, commands: &[String]) -> Vec<String> {
        self.lines.send(&commands.join("\n")).expect("QEMU reads");
        let deadline = Instant::now() + TIMEOUT;
        let answer = |command: &String| {
            let answer = self.lines.line(deadline).expect("QEMU answers");
            assert!(answer.starts_with("OK"), "{command}: {answer}");
            answer
        };
        commands.iter().map(answer).collect()
    }
}

/// An access in QEMU's words.
fn command(access: &Access) -> String {
    let (base, verbs) = match access.kind {
        Kind::Memory => (MEMORY, ["read", "write"]),
        Kind::Ports => (PORTS, ["in", "out"]),
    };
    let address = base + access.offset;
    let size = match access.size {
        1 => "b",
        2 => "w",
        4 => "l",
        _ => "q",
    };
    match access.value {
        None => format!("{}{size} {address:#x}", verbs[0]),
        Some(value) => format!("{}{size} {address:#x} {value:#x}", verbs[1]),
    }
}
