//! Whether the bytes look random after their way into the guest.

use std::io::copy;
use std::process::{Command, Stdio};

use lab::RunDir;

use super::port::{IN_GUEST, Port};
use super::{Options, Rng, guest, usual};
use crate::{assert_kernel_is_content, say};

/// Blocks of 20,000 bits; of a perfect source's, about one in 1,200 fails.
const BLOCKS: u32 = 1000;
const FAILURES: u32 = 5;

#[test]
fn rngtest_is_content() {
    let run = RunDir::create("virtio-rngtest").expect("a run can be made");
    let (_rng, mut guest) = usual(&run, &Options::default());
    let output =
        guest.try_run(&format!("rngtest -c {BLOCKS} </dev/hwrng 2>&1")).expect("it ends in time");
    let number = |of: &str| -> u32 {
        let line = output.text.lines().find_map(|line| line.split_once(&format!("{of}: ")));
        line.and_then(|(_, number)| number.parse().ok())
            .unwrap_or_else(|| panic!("no {of} in what rngtest said:\n{}", output.text))
    };
    let (successes, failures) = (number("successes"), number("failures"));
    say(&format!("{successes} blocks passed, {failures} failed"));
    assert_eq!(successes + failures, BLOCKS);
    assert!(failures <= FAILURES, "{}", output.text);
    assert_kernel_is_content(&mut guest);
}

/// Tests of dieharder that decide with some megabytes: number, samples, repetitions.
const DIEHARDER: [[&str; 3]; 5] = [
    ["0", "100", "40"],
    ["8", "256000", "20"],
    ["15", "100000", "20"],
    ["100", "100000", "40"],
    ["101", "100000", "40"],
];

#[test]
#[ignore = "takes many minutes and the package dieharder; scripts/soak.sh runs it"]
fn dieharder_is_content() {
    let run = RunDir::create("virtio-dieharder").expect("a run can be made");
    let rng = Rng::start(&run, "rng", &Options::default()).expect("the device can be made");
    let mut port = Port::open(&run).expect("a port can be made");
    say("booting a guest with a virtio-rng and a port");
    let mut guest = port.attach(rng.attach(guest(&run))).boot().expect("the guest boots");
    guest
        .run(&format!("dd if=/dev/hwrng bs=4096 2>/dev/null >$(echo {IN_GUEST}) &"))
        .expect("the guest starts a reader");
    let mut stream = port.stream().expect("QEMU connects");
    for [test, samples, repetitions] in DIEHARDER {
        let mut dieharder = Command::new("dieharder")
            .args(["-g", "200", "-d", test, "-t", samples, "-p", repetitions, "-D", "default"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("dieharder is installed");
        let mut input = dieharder.stdin.take().expect("it is a pipe");
        // It closes its input when it has enough.
        let _ = copy(&mut stream, &mut input);
        drop(input);
        let output = dieharder.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        say(&said);
        assert!(output.status.success(), "dieharder ended with {}", output.status);
        assert!(said.contains("PASSED") || said.contains("WEAK"), "{said}");
        assert!(!said.contains("FAILED"), "{said}");
    }
}
