//! Devices in C inside QEMU and in processes of their own: the same files, the same accesses, the
//! same answers.
//!
//! On one side the device is a part of QEMU. On the other side stock QEMU has `vfio-user-pci`, and
//! behind its socket is the program that the lab makes of the same file. No guest runs: the accesses
//! come from QEMU's test protocol. What goes by a clock is left out, because the guest's clock stands
//! still on one side only.

mod accesses;
mod qtest;

use std::path::{Path, PathBuf};

use accesses::{Access, Bar, Kind};
use lab::device_source::DeviceSource;
use lab::patched_qemu::workshop::Workshop;
use lab::qemu::Qemu;
use lab::{RunDir, Server, environment, patched_qemu, paths};
use qtest::Machine;
use serde_json::json;

use crate::{left_out_beside_pcs, say};

/// Accesses of each device.
const ACCESSES: usize = 100_000;
/// Why there is no comparison on another architecture.
const PCS_ONLY: &str = "the QEMU with the device inside has PCs only";
/// The environment variable that names another sequence.
const VARIABLE: &str = "SEQUENCE";

/// A device, and what is known of it.
struct Subject<'a> {
    /// How QEMU names its type.
    name: &'a str,
    source: &'a Path,
    bars: &'a [Bar],
    /// A property that both are given.
    property: Option<(&'a str, u32)>,
    /// Keeps away from an access what is not to be compared.
    tame: fn(&mut Access),
}

#[test]
fn qemus_edu_answers_the_same_inside_and_outside() {
    if left_out_beside_pcs(PCS_ONLY) {
        return;
    }
    let registers = &[0, 4, 8, 0x20, 0x24, 0x60, 0x64, 0x80, 0x88, 0x90, 0x98, 0x40000];
    assert_same(&Subject {
        name: "edu",
        source: &source("hw/misc/edu.c"),
        bars: &[Bar { kind: Kind::Memory, size: 1 << 20, registers }],
        property: None,
        tame: without_time,
    });
}

/// A factorial is computed by a thread, and a transfer begins with a timer: neither is begun. All
/// other registers are free.
fn without_time(access: &mut Access) {
    // Only a write of all four bytes at 8 begins a factorial.
    if access.offset <= 8 && access.offset + access.size >= 12 {
        access.value = None;
    }
    access.change(0x98, |byte| byte & !1);
}

#[test]
fn qemus_pci_testdev_answers_the_same_inside_and_outside() {
    if left_out_beside_pcs(PCS_ONLY) {
        return;
    }
    let bar = |kind, size, registers| Bar { kind, size, registers };
    assert_same(&Subject {
        name: "pci-testdev",
        source: &source("hw/misc/pci-testdev.c"),
        bars: &[
            bar(Kind::Memory, 4096, &[0, 1, 4, 8, 12, 16, 2048, 2049, 2050]),
            bar(Kind::Ports, 256, &[0, 1, 4, 8, 12, 16, 131, 132, 133]),
        ],
        property: None,
        tame: |_| {},
    });
}

#[test]
fn the_patchs_device_answers_the_same_inside_and_outside() {
    if left_out_beside_pcs(PCS_ONLY) {
        return;
    }
    // Without a seed the first numbers are the operating system's.
    let source = source("hw/misc/my_rng.c");
    assert_same(&Subject { property: Some(("seed", 7)), ..my_rng(&source) });
}

#[test]
fn a_students_file_answers_the_same_inside_and_outside() {
    if left_out_beside_pcs(PCS_ONLY) {
        return;
    }
    let devices = paths::checkout().join("checker/submissions/devices");
    let run = RunDir::create("replay-workshop").expect("a run can be made");
    let workshop = Workshop::open(&run).expect("QEMU's source can be copied");
    let skeleton = paths::checkout().join("qemu-device/examples/my-rng.c");
    workshop.rebuild(&skeleton).expect("it compiles inside QEMU");
    let file = devices.join("c-correct-seed-reads-back/my-rng.c");
    let built = workshop.rebuild(&file).expect("it compiles inside QEMU");
    assert_same_on(&built.qemu, &my_rng(&file));
}

/// A file with the teaching device.
fn my_rng(source: &Path) -> Subject<'_> {
    Subject {
        name: patched_qemu::DEVICE,
        source,
        bars: &[Bar { kind: Kind::Memory, size: 4096, registers: &[0, 4] }],
        property: None,
        tame: |_| {},
    }
}

/// A file of QEMU's source, patched; a QEMU with the devices inside is built with it.
fn source(file: &str) -> PathBuf {
    patched_qemu::get().expect("QEMU can be built");
    patched_qemu::source().join(file)
}

fn assert_same(subject: &Subject<'_>) {
    assert_same_on(patched_qemu::get().expect("QEMU can be built"), subject);
}

/// Compares a device inside a QEMU with the same file in a process of its own.
fn assert_same_on(inside: &Qemu, subject: &Subject<'_>) {
    let run = RunDir::create(&format!("replay-{}", subject.name)).expect("a run can be made");
    let mut description = json!({"driver": subject.name});
    let mut options = vec![];
    if let Some((name, value)) = subject.property {
        description[name] = value.into();
        options = vec!["--property".to_owned(), format!("{name}={value}")];
    }
    let program = DeviceSource::open(subject.source, true).and_then(|source| source.build());
    let program = program.expect("it compiles");
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let server = Server::start_program(&run, subject.name, &program, &options);
    let server = server.expect("it starts");
    let stock = &environment::get().expect("the lab's environment can be made").qemu;
    let mut inside = Machine::start(&run, "inside", inside, description);
    let mut outside = Machine::start(&run, "outside", stock, server.device());

    let number = std::env::var(VARIABLE).map_or(1, |text| text.parse().expect("it is a number"));
    say(&format!("{}: {ACCESSES} accesses of sequence {number}", subject.name));
    let mut accesses = accesses::sequence(number, ACCESSES, subject.bars);
    accesses.iter_mut().for_each(subject.tame);
    let (expected, answers) = (inside.replay(&accesses), outside.replay(&accesses));
    let differs = |at: &usize| expected[*at] != answers[*at];
    if let Some(at) = (0..accesses.len()).find(differs) {
        let before =
            accesses[..=at].iter().rev().take(12).rev().map(|access| format!("{access:x?}"));
        let before = before.collect::<Vec<_>>().join("\n");
        panic!("{}, not {} as inside QEMU:\n{before}", answers[at], expected[at]);
    }
    // Had the device not answered at all, everything would be the same.
    let mut values = expected.clone();
    values.sort_unstable();
    values.dedup();
    assert!(values.len() > subject.bars.len() * 4, "only {values:?}");
}
