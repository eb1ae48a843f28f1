//! What the daemon costs: system calls for a register read, memory for an idle client.

use std::process::Command;

use rustix::process::Signal;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};

/// All system calls of a daemon whose only client read RANDOM so many times.
fn system_calls(reads: usize) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log).arg(BINARY);
    let mut daemon = Daemon::start_under(&mut strace, &[]);
    let mut client = daemon.client();
    for _ in 0..reads {
        client.read_u32(0, 0);
    }
    drop(client);
    // strace passes the signal on only to itself: it is the traced process that has to end.
    let traced = format!("/proc/{0}/task/{0}/children", daemon.pid());
    let traced = std::fs::read_to_string(traced).unwrap();
    let traced = rustix::process::Pid::from_raw(traced.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(traced, Signal::TERM).unwrap();
    assert_eq!(daemon.wait().code(), Some(0));
    let log = std::fs::read_to_string(&log).unwrap();
    // "PID name(...": not the second halves of calls that another thread interrupted in the log.
    let name = |line: &str| {
        let (_pid, call) = line.split_once(' ')?;
        let (name, _) = call.trim_start().split_once('(')?;
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_').then(|| name.into())
    };
    log.lines().filter_map(name).collect()
}

#[test]
fn a_register_read_costs_two_system_calls() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("SKIPPED: strace is not installed (apt-get install strace)");
        return;
    }
    let (few, many) = (system_calls(100), system_calls(1100));
    let count = |calls: &[String], name: &str| calls.iter().filter(|call| *call == name).count();
    assert_eq!(count(&many, "recvmsg") - count(&few, "recvmsg"), 1000);
    assert_eq!(count(&many, "sendmsg") - count(&few, "sendmsg"), 1000);
    // All of them, of all threads. A log of strace's differs by one or two at its end.
    let per_read = (many.len() - few.len()) as f64 / 1000.0;
    assert_eq!(format!("{per_read:.1}"), "2.0");
}

/// A line of the process's status, in KiB.
fn kib(daemon: &Daemon, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_idle_client_leaves_the_server_under_five_mebibytes_and_one_of_its_own() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0, 1 << 30, None);
    client.read_u32(0, 0);
    let own = kib(&daemon, "RssAnon:");
    assert!(own < 1024, "{own} KiB of its own");
    // Every page in memory: also those of the program and the C library, which all servers of a host
    // share. A debug build's program is several times larger.
    let resident = kib(&daemon, "VmRSS:");
    assert!(cfg!(debug_assertions) || resident < 5120, "{resident} KiB resident");
}

#[test]
fn an_idle_client_among_many_keeps_no_long_buffers_and_takes_less_than_forty_kibibytes() {
    const MANY: u64 = 200;
    let daemon = Daemon::start(&["--device", "virtio-rng", "--socket-count", "200"]);
    let before = kib(&daemon, "RssAnon:");
    let mut clients: Vec<_> = (0..MANY)
        .map(|number| Client::negotiated(&daemon.folder.path().join(format!("s{number}"))))
        .collect();
    for client in &mut clients {
        client.map(0, 1 << 20, Some(&memory(1 << 20)));
        // A long message, whose buffer is not kept.
        client.write(CONFIG, 4, &[6, 0]);
        client.refused(REGION_WRITE, &region_write(CONFIG, 0, &[0; 1 << 19]));
        client.read(CONFIG, 0, 256);
    }
    let each = (kib(&daemon, "RssAnon:") - before) / MANY;
    // Half of it is the stack of its thread, which a debug build has larger frames on.
    let most = if cfg!(debug_assertions) { 60 } else { 40 };
    assert!(each < most, "{each} KiB for each");
}
