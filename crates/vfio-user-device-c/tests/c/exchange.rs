//! Another process takes the place of a device in C while its client stays connected.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rustix::process::Signal;

use crate::common::{Bytes, Client, u64_at, wait_until};
use crate::compiler::{compile, flags, folder, test_device, try_compile};
use crate::program::Program;

const RANDOM: u64 = 0x00;
const TIMER: u64 = 0x08;
const FIRED: u64 = 0x10;
const INTX_LEVEL: u64 = 0x18;
const EXTRA: u64 = 0x28;
const LOADED: u64 = 0x30;
/// Registers that keep what is written to them, and their widths.
const PLAIN: [(u64, u32); 7] =
    [(0x20, 1), (0x28, 8), (0x47, 1), (0x5f, 1), (0x7c, 4), (0x80, 2), (0x98, 8)];

/// A device with all kinds of fields, in a file of its own that another one can be put in place of.
fn stateful(name: &str) -> PathBuf {
    let program = folder().join(format!("stateful-{name}"));
    // There is none the first time.
    let _ = fs::remove_file(&program);
    // Not copied: a process that another test starts meanwhile would have the copy open for writing,
    // and it could not be executed.
    fs::hard_link(compile(&test_device("stateful.c")), &program).unwrap();
    program
}

/// The same device, built with these macros, in its place.
fn replace(program: &Path, macros: &[&str]) {
    let new = program.with_extension("new");
    let macros = macros.iter().map(|text| format!("-D{text}"));
    let more: Vec<String> = flags("sanitize").into_iter().chain(macros).collect();
    let output = try_compile(&test_device("stateful.c"), &new, &more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::rename(new, program).unwrap();
}

fn write(client: &mut Client, register: u64, value: u64, width: u32) {
    client.write(0, register, &Bytes::new().u64(value).0[..width as usize]);
}

fn read_u64(client: &mut Client, register: u64) -> u64 {
    u64_at(&client.read(0, register, 8), 0)
}

#[test]
fn what_a_device_declares_goes_to_the_process_that_takes_its_place() {
    let mut program = Program::serve(&stateful("fields"), &[]);
    let client = &mut program.client();
    for (index, (register, width)) in PLAIN.into_iter().enumerate() {
        write(client, register, 0x8182_8384_8586_8789 + index as u64, width);
    }
    client.write(2, 100, b"memory");
    write(client, INTX_LEVEL, 1, 4);
    write(client, RANDOM, 1, 4);
    let expected = PLAIN.map(|(register, width)| client.read(0, register, width));
    assert_eq!(client.read_u32(0, RANDOM), 1_804_289_383);
    for number in [846_930_886, 1_681_692_777, 1_714_636_915] {
        program.exchange();
        let found = PLAIN.map(|(register, width)| client.read(0, register, width));
        assert_eq!(found, expected);
        assert_eq!(client.read(2, 100, 6), b"memory");
        assert_eq!(client.read_u32(0, INTX_LEVEL), 1);
        assert_eq!(client.read_u32(0, RANDOM), number, "the sequence goes on");
        assert_eq!(read_u64(client, LOADED), 1 + 0x100 * 2, "its post_load was called");
    }
    // The level is one of the bus, too.
    let status = client.read(7, 6, 1)[0];
    assert_eq!(status & 8, 8, "INTx is asserted");
    write(client, INTX_LEVEL, 0, 4);
    assert_eq!(client.read(7, 6, 1)[0] & 8, 0);
}

#[test]
fn timers_go_on_with_what_they_have_left() {
    let mut program = Program::serve(&stateful("timers"), &[]);
    let client = &mut program.client();
    // One is far away, the other fires behind the exchange or before it.
    write(client, TIMER, 50 | 60_000 << 16, 8);
    program.exchange();
    wait_until("the timer fires", || read_u64(client, FIRED) == 1);
    assert_eq!(client.read_u32(0, TIMER), 2, "the other one is still set");
    write(client, TIMER, 60_000 | 1 << 16, 8);
    wait_until("timers can be set anew", || read_u64(client, FIRED) == 2);
}

/// Why another file does not take the place of a running device.
fn refused(name: &str, macros: &[&str]) -> String {
    let running = stateful(name);
    let program = Program::serve(&running, &[]);
    let client = &mut program.client();
    write(client, RANDOM, 1, 4);
    replace(&running, macros);
    let why = program.refused_exchange();
    assert_eq!(client.read_u32(0, RANDOM), 1_804_289_383, "it goes on: {why}");
    why
}

#[test]
fn a_state_of_another_layout_is_refused_and_the_old_process_goes_on() {
    let why = refused("older", &["VERSION=1"]);
    assert!(
        why.contains("the state of \"stateful\" has version 2, and this device has version 1"),
        "{why}"
    );
    let why = refused("named", &["STATE_NAME=\"other\""]);
    assert!(why.contains("the state has no field \"other\""), "{why}");
    let why = refused("fewer", &["NO_PAIRS"]);
    assert!(
        why.contains("the device does not take the field \"stateful.pairs[0]\" of the state"),
        "{why}"
    );
}

#[test]
fn a_state_that_the_device_does_not_take_is_refused() {
    let program = Program::serve(&stateful("refuses"), &[]);
    let client = &mut program.client();
    write(client, EXTRA, 0xbad, 8);
    let why = program.refused_exchange();
    assert!(why.contains("post_load of \"stateful\" returned -1"), "{why}");
    assert_eq!(read_u64(client, EXTRA), 0xbad, "the old process goes on");
}

#[test]
fn a_device_that_never_says_its_state_ends_with_the_place() {
    let mut program = Program::serve(&stateful("hangs"), &[]);
    let client = &mut program.client();
    write(client, EXTRA, 0x100f, 8);
    program.signal(Signal::USR2);
    assert_eq!(program.wait().code(), Some(1), "{}", program.log());
    assert!(program.log().contains("stateful_pre_save()"), "{}", program.log());
}

#[test]
fn a_newer_version_takes_an_older_state() {
    let running = stateful("newer");
    let mut program = Program::serve(&running, &[]);
    let client = &mut program.client();
    write(client, EXTRA, 7, 8);
    replace(&running, &["VERSION=3"]);
    program.exchange();
    assert_eq!(read_u64(client, EXTRA), 7);
    assert_eq!(read_u64(client, LOADED), 1 + 0x100 * 2, "it is told the state's version");
}

#[test]
fn a_device_without_a_declared_state_says_so_and_goes_on() {
    let program = Program::serve(&compile(&test_device("faulty.c")), &[]);
    let mut client = program.client();
    let why = program.refused_exchange();
    assert!(why.contains("it does not say its state; give it save and restore"), "{why}");
    assert_eq!(client.read_u32(0, 0), 7);
}

#[test]
fn a_macro_of_another_type_than_its_field_does_not_compile() {
    let source = folder().join("vmstate.c");
    let text = "#include \"qemu/osdep.h\"\n#include \"migration/vmstate.h\"\n\
                struct s { uint64_t wide; };\n\
                const VMStateField f[] = { VMSTATE_UINT32(wide, struct s) };\n";
    fs::write(&source, text).unwrap();
    let output = try_compile(&source, Path::new("/dev/null"), &["-c".into()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "it compiles");
    assert!(said.contains("\"wide\\\" has another type than its VMSTATE_ macro"), "{said}");
}

/// What a guest does, and where the device is exchanged.
#[derive(Clone, Debug)]
enum Step {
    Write(usize, u64),
    Seed(u32),
    Random,
    Interrupt,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (0..PLAIN.len(), any::<u64>()).prop_map(|(index, value)| Step::Write(index, value)),
        1 => any::<u32>().prop_map(Step::Seed),
        10 => Just(Step::Random),
        1 => Just(Step::Interrupt),
    ]
}

/// All that the guest sees of a step.
fn carry_out(step: &Step, client: &mut Client) -> Vec<Vec<u8>> {
    match *step {
        Step::Write(index, value) => write(client, PLAIN[index].0, value, PLAIN[index].1),
        Step::Seed(seed) => write(client, RANDOM, seed.into(), 4),
        Step::Random | Step::Interrupt => return vec![client.read(0, RANDOM, 4)],
    }
    PLAIN.map(|(register, width)| client.read(0, register, width)).to_vec()
}

/// What happens to the process of one device at any point of a sequence cannot be told from the answers.
fn assert_invisible(interrupted: Program, interrupt: fn(&mut Program)) {
    let control = Program::serve(&compile(&test_device("stateful.c")), &[]);
    let (client, other) = (RefCell::new(control.client()), RefCell::new(interrupted.client()));
    let interrupted = RefCell::new(interrupted);
    let mut runner = TestRunner::new(Config { cases: 8, ..Config::default() });
    let result = runner.run(&prop::collection::vec(step(), 1..80), |steps| {
        let (client, other) = (&mut *client.borrow_mut(), &mut *other.borrow_mut());
        for step in steps {
            if let Step::Interrupt = step {
                interrupt(&mut interrupted.borrow_mut());
            }
            prop_assert_eq!(carry_out(&step, client), carry_out(&step, other));
        }
        Ok(())
    });
    assert!(result.is_ok(), "{result:?}\n{}", interrupted.borrow().log());
}

#[test]
fn an_exchange_at_any_point_of_a_sequence_is_invisible() {
    assert_invisible(Program::serve(&stateful("exchanged"), &[]), Program::exchange);
}

#[test]
fn a_kill_at_any_point_of_a_sequence_is_invisible() {
    assert_invisible(Program::serve(&stateful("killed"), &["--keeper"]), Program::kill);
}
