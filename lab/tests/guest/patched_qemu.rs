//! Our server's device next to the one inside the patched QEMU: the same accesses, the same answers.
//!
//! Between the guest's processor and a device that is a part of QEMU there is QEMU's memory core,
//! which splits and narrows accesses as the device's description says; between it and ours there
//! are QEMU's vfio code, the protocol and the device kit. No guest may see a difference.

use std::time::{SystemTime, UNIX_EPOCH};

use lab::patched_qemu::workshop::Workshop;
use lab::{Guest, RunDir, patched_qemu};

use crate::my_rng::{GLIBC, MyRng, Options};
use crate::{left_out_beside_pcs, say};

/// How many accesses of each sequence; what they answer is printed on an emulated serial port.
const ACCESSES: u32 = 4000;
/// How long they may take in an emulated guest on a loaded machine.
const REPLAY: std::time::Duration = std::time::Duration::from_secs(300);
/// Sequences of every run, next to one that is new each time.
const SEQUENCES: [u32; 2] = [1, 0x8000_0001];
/// The environment variable that repeats a sequence.
const VARIABLE: &str = "SEQUENCE";

#[test]
fn our_device_answers_every_access_as_the_one_inside_qemu_does() {
    if left_out_beside_pcs("the QEMU with the device inside has PCs only") {
        return;
    }
    let run = RunDir::create("patched-qemu").expect("a run can be made");
    let options = Options { generator: Some(GLIBC), ..Options::default() };
    let ours = MyRng::of_our_server(&run, "ours", options).expect("the server starts");
    let inside = MyRng::inside_qemu("inside", None);
    say("booting a guest with each device");
    let boot = |device: &MyRng| {
        let guest = Guest::builder(&run).name(device.id());
        device.attach(guest).boot().expect("the guest boots")
    };
    let (mut ours, mut inside) = (boot(&ours), boot(&inside));
    let sequences = match std::env::var(VARIABLE) {
        Ok(number) => vec![number.parse().expect("SEQUENCE is a number")],
        Err(_) => SEQUENCES.into_iter().chain([new_number()]).collect(),
    };
    for sequence in sequences {
        say(&format!("sequence {sequence}"));
        let (ours, inside) = (replay(&mut ours, sequence), replay(&mut inside, sequence));
        let lines = inside.lines().count();
        assert_eq!(lines, usize::try_from(ACCESSES).expect("it is small") + 1, "{inside}");
        if let Some(difference) = first_difference(&ours, &inside) {
            panic!("{difference}\nto see it again: {VARIABLE}={sequence}");
        }
    }
}

#[test]
fn an_edited_device_is_what_the_next_guest_sees() {
    if left_out_beside_pcs("the QEMU with the device inside has PCs only") {
        return;
    }
    let run = RunDir::create("edited").expect("a run can be made");
    let workshop = Workshop::open(&run).expect("the patched QEMU can be copied");
    let source = std::fs::read_to_string(workshop.device_source()).expect("it is there");
    let edited = source.replace("MY_RNG_REVISION     0x10", "MY_RNG_REVISION     0x11");
    assert_ne!(edited, source);
    let file = run.path().join("my_rng.c");
    std::fs::write(&file, edited).expect("it can be written");
    let built = workshop.rebuild(&file).expect("it compiles");
    say(&format!("compiled and linked in {:.1} s", built.took.as_secs_f32()));
    let device = patched_qemu::device("edited", None).to_string();
    let mut guest = Guest::builder(&run)
        .qemu(&built.qemu)
        .arguments(&["-device", &device])
        .boot()
        .expect("the guest boots");
    let lspci = guest.run("lspci -d 1234:cafe").expect("lspci works");
    assert!(lspci.contains("(rev 11)"), "{lspci}");
}

/// What a guest's device answers to a sequence of accesses.
fn replay(guest: &mut Guest, sequence: u32) -> String {
    let command = format!("my-rng-tester --replay {sequence} {ACCESSES}");
    let output = guest.try_run_for(&command, REPLAY).expect("the guest answers");
    assert_eq!(output.status, 0, "{}", output.text);
    output.text
}

/// The first access to which two devices gave different answers, and those before.
fn first_difference(ours: &str, inside: &str) -> Option<String> {
    let ours: Vec<&str> = ours.lines().collect();
    let inside: Vec<&str> = inside.lines().collect();
    let pairs = ours.iter().zip(&inside);
    let at = pairs.take_while(|(ours, inside)| ours == inside).count();
    if at == ours.len().max(inside.len()) {
        return None;
    }
    let before = inside[at.saturating_sub(4)..at].join("\n");
    let line = |lines: &[&str]| lines.get(at).copied().unwrap_or("nothing").to_owned();
    Some(format!(
        "access {at} is answered differently, after\n{before}\nby ours:       {}\ninside QEMU:   {}",
        line(&ours),
        line(&inside)
    ))
}

/// A number that is another one each time.
fn new_number() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is set");
    now.subsec_nanos()
}
