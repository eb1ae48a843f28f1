//! `my-rng-server probe` with the devices of this project.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::RECEIVE_TIMEOUT;
use crate::daemon::{BINARY, Daemon};

/// What the probe shows of the teaching device; the guest's lspci shows the same.
const MY_RNG: &str = "\
1234:cafe (rev 10), class 00ff00
\tSubsystem: 1af4:1100
\tBAR 0: Memory (32-bit, non-prefetchable) [size=4K]
\tConfiguration space: [size=256]
\tCapabilities: none
\tInterrupts: INTx 0, MSI 0, MSI-X 0, ERR 1, REQ 1
\tReset: yes
";

/// What it shows of the entropy device, which is what lspci shows of it and of QEMU's own.
const VIRTIO_RNG: &str = "\
1af4:1044 (rev 01), class 00ff00
\tSubsystem: 1af4:1100
\tBAR 1: Memory (32-bit, non-prefetchable) [size=4K]
\tBAR 4: Memory (64-bit, prefetchable) [size=16K]
\tConfiguration space: [size=256]
\tCapabilities: [40] MSI-X: Enable- Count=2 Masked-
\t\tVector table: BAR=1 offset=00000000
\t\tPBA: BAR=1 offset=00000800
\tCapabilities: [4c] Vendor Specific Information: VirtIO: PciCfg
\t\tBAR=4 offset=00000000 size=00000000
\tCapabilities: [60] Vendor Specific Information: VirtIO: Notify
\t\tBAR=4 offset=00003000 size=00001000 multiplier=00000004
\tCapabilities: [74] Vendor Specific Information: VirtIO: DeviceCfg
\t\tBAR=4 offset=00002000 size=00001000
\tCapabilities: [84] Vendor Specific Information: VirtIO: ISR
\t\tBAR=4 offset=00001000 size=00001000
\tCapabilities: [94] Vendor Specific Information: VirtIO: CommonCfg
\t\tBAR=4 offset=00000000 size=00001000
\tInterrupt: pin A
\tInterrupts: INTx 1, MSI 0, MSI-X 2, ERR 1, REQ 1
\tReset: yes
";

/// Runs a probe, which has to end by itself.
pub fn probe(socket: &Path, arguments: &[&str]) -> Output {
    let timeout = RECEIVE_TIMEOUT.as_secs().to_string();
    let mut command = Command::new("timeout");
    command.args([&timeout, BINARY, "probe"]).arg(socket).args(arguments);
    command.output().unwrap()
}

/// What a probe that succeeds prints.
#[track_caller]
pub fn shown(socket: &Path, arguments: &[&str]) -> String {
    let output = probe(socket, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*errors), (Some(0), ""), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// What a probe that fails says.
#[track_caller]
pub fn complaint(socket: &Path, arguments: &[&str]) -> String {
    let output = probe(socket, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    said
}

#[test]
fn the_teaching_device_is_described() {
    assert_eq!(shown(&Daemon::start(&[]).path(), &[]), MY_RNG);
}

#[test]
fn the_entropy_device_is_described() {
    assert_eq!(shown(&Daemon::start(&["--device", "virtio-rng"]).path(), &[]), VIRTIO_RNG);
}

#[test]
fn the_ports_of_the_legacy_interface_are_named() {
    let daemon = Daemon::start(&["--device", "virtio-rng", "--virtio", "transitional"]);
    assert!(shown(&daemon.path(), &[]).contains("\n\tBAR 0: I/O ports [size=32]\n"));
}

#[test]
fn reads_have_the_width_that_was_asked_for() {
    let daemon = Daemon::start(&[]);
    for (width, expected) in
        [("1", "0x34\n"), ("2", "0x1234\n"), ("4", "0xcafe1234\n"), ("8", "0x00000000cafe1234\n")]
    {
        assert_eq!(shown(&daemon.path(), &["read", "config", "0x0", width]), expected);
    }
}

#[test]
fn a_register_is_read_as_often_as_was_asked_for() {
    let numbers = shown(&Daemon::glibc().path(), &["read", "0", "0x0", "4", "3"]);
    assert_eq!(numbers, "0x6b8b4567\n0x327b23c6\n0x643c9869\n");
}

#[test]
fn writing_seeds_the_generator() {
    let daemon = Daemon::start(&["--generator", "glibc", "--keep-state"]);
    assert_eq!(shown(&daemon.path(), &["write", "0", "4", "4", "0x1"]), "");
    assert_eq!(shown(&daemon.path(), &["read", "0", "0", "4"]), "0x6b8b4567\n");
}

#[test]
fn unaligned_places_may_be_read() {
    let daemon = Daemon::start(&[]);
    assert_eq!(shown(&daemon.path(), &["read", "config", "1", "4"]), "0x00cafe12\n");
}

#[test]
fn a_dump_shows_equal_lines_once() {
    let expected = "\
        00000000: 6b8b4567 00000000 00000000 00000000\n\
        00000010: 00000000 00000000 00000000 00000000\n\
        *\n\
        00001000\n";
    assert_eq!(shown(&Daemon::glibc().path(), &["dump", "0"]), expected);
}

#[test]
fn a_part_is_dumped_in_the_width_that_was_asked_for() {
    let daemon = Daemon::start(&[]);
    let dump = |more: &[&str]| shown(&daemon.path(), &[&["dump", "config"], more].concat());
    assert_eq!(dump(&["44", "4"]), "0000002c: 11001af4\n00000030\n");
    assert_eq!(dump(&["0x2d", "3", "--width", "1"]), "0000002d: 1a 00 11\n00000030\n");
    assert_eq!(dump(&["0", "0"]), "00000000\n");
    assert_eq!(dump(&["0xf8"]), "000000f8: 00000000 00000000\n00000100\n");
}

#[test]
fn a_dump_of_a_large_bar_says_what_it_leaves_out() {
    let daemon = Daemon::start(&["--device", "virtio-rng"]);
    let text = shown(&daemon.path(), &["dump", "4"]);
    assert!(text.ends_with("\n00001000\n(12288 more bytes; FROM and LENGTH choose others)\n"));
}

#[test]
fn a_dump_that_is_not_read_to_the_end_is_no_failure() {
    let daemon = Daemon::start(&[]);
    let mut command = Command::new(BINARY);
    command.arg("probe").arg(daemon.path()).args(["read", "0", "0", "4", "100000"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 1]).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}

#[test]
fn the_time_of_reads_is_shown_in_order() {
    let daemon = Daemon::start(&[]);
    for (arguments, register) in [
        (&["time", "500"][..], "500 reads of Configuration space, offset 0x0, width 4\n"),
        (&["time", "500", "0", "0x8", "2"], "500 reads of BAR 0, offset 0x8, width 2\n"),
    ] {
        let text = shown(&daemon.path(), arguments);
        assert!(text.starts_with(register), "{text}");
        let figures: Vec<(&str, f64)> = text
            .lines()
            .skip(1)
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .map(|words| (words[0], words[1].parse().unwrap()))
            .collect();
        let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, ["p50", "p90", "p99", "mean", "rate"]);
        assert!(figures[0].1 > 0.0 && figures[0].1 <= figures[1].1 && figures[1].1 <= figures[2].1);
        assert!(figures[4].1 > 0.0);
    }
}

#[test]
fn registers_past_the_end_are_named() {
    let daemon = Daemon::start(&[]);
    let past = "4 bytes at offset 0xffe go past the end of BAR 0, whose size is 0x1000";
    for arguments in [
        &["read", "0", "0xffe", "4"][..],
        &["write", "0", "0xffe", "4", "1"],
        &["dump", "0", "0xffe", "4"],
        &["time", "10", "0", "0xffe", "4"],
    ] {
        assert!(complaint(&daemon.path(), arguments).contains(past), "{arguments:?}");
    }
    let largest = u64::MAX.to_string();
    let said = complaint(&daemon.path(), &["read", "0", &largest, "8"]);
    assert!(said.contains("past the end of BAR 0"), "{said}");
    let said = complaint(&daemon.path(), &["read", "3", "0", "4"]);
    assert!(said.contains("the device has no BAR 3"), "{said}");
    let said = complaint(&daemon.path(), &["read", "4294967295", "0", "4"]);
    assert!(said.contains("the device has no Region 4294967295"), "{said}");
}

#[test]
fn values_that_do_not_fit_are_not_written() {
    let daemon = Daemon::start(&[]);
    let said = complaint(&daemon.path(), &["write", "0", "4", "1", "0x1ff"]);
    assert!(said.contains("0x1ff does not fit into 1 bytes"), "{said}");
}

#[test]
fn lengths_that_are_no_multiple_of_the_width_are_not_dumped() {
    let daemon = Daemon::start(&[]);
    let said = complaint(&daemon.path(), &["dump", "0", "0", "6"]);
    assert!(said.contains("6 bytes cannot be read 4 at once"), "{said}");
}

#[test]
fn another_client_is_named_as_the_reason() {
    let daemon = Daemon::start(&[]);
    let _first = daemon.client();
    let said = complaint(&daemon.path(), &[]);
    assert!(said.contains("VERSION") && said.contains("another client is connected"), "{said}");
}

#[test]
fn wrong_command_lines_end_with_status_2() {
    let socket = Path::new("/nowhere");
    for arguments in [
        &["read"][..],
        &["read", "0", "0"],
        &["read", "0", "0", "3"],
        &["read", "bar0", "0", "4"],
        &["read", "0", "-1", "4"],
        &["write", "0", "0", "4"],
        &["dump"],
        &["time", "0"],
        &["time", "10", "0"],
        &["time", "10", "0", "0x0"],
        &["time", "18446744073709551615"],
        &["polish"],
        &["--timeout-ms", "0"],
        &["--socket-path", "x"],
    ] {
        assert_eq!(probe(socket, arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn help_mentions_every_command() {
    let output = Command::new(BINARY).args(["probe", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for part in ["read ", "write ", "dump ", "time ", "--timeout-ms", "side effects", "EXAMPLES"] {
        assert!(help.contains(part), "{part} is missing in:\n{help}");
    }
    let output = Command::new(BINARY).arg("--help").output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("\n  probe "));
}
