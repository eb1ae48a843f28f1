//! What the daemon costs: system calls for a register read, memory for an idle client.

use std::process::Command;

use rustix::process::Signal;

use crate::common::*;
use crate::daemon::{BINARY, Daemon};

/// All system calls of a daemon whose only client read RANDOM so many times.
fn system_calls(options: &[&str], reads: usize) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("strace");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log).arg(BINARY);
    let mut daemon = Daemon::start_under(&mut strace, options);
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
    // With a keeper, the kernel writes down how many bytes it has taken; that costs none more.
    let cases: [(&[&str], _); 2] =
        [(&[], ["recvmsg", "sendmsg"]), (&["--keeper"], ["recvmmsg", "sendmmsg"])];
    for (options, names) in cases {
        let (few, many) = (system_calls(options, 100), system_calls(options, 1100));
        let count =
            |calls: &[String], name: &str| calls.iter().filter(|call| *call == name).count();
        for name in names {
            assert_eq!(count(&many, name) - count(&few, name), 1000, "{name} {options:?}");
        }
        // All of them, of all threads. A log of strace's differs by one or two at its end.
        let per_read = (many.len() - few.len()) as f64 / 1000.0;
        assert_eq!(format!("{per_read:.1}"), "2.0", "{options:?}");
    }
}

/// A line of the process's status, in KiB.
fn kib(daemon: &Daemon, key: &str) -> u64 {
    kib_of(daemon.pid(), key)
}

fn kib_of(process: u32, key: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_idle_client_leaves_the_server_under_seven_mebibytes_and_one_of_its_own() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    client.map(0, 1 << 30, None);
    client.read_u32(0, 0);
    let own = kib(&daemon, "RssAnon:");
    // A debug build has more that the loader relocates.
    let most = if cfg!(debug_assertions) { 1536 } else { 1024 };
    assert!(own < most, "{own} KiB of its own");
    // Every page in memory: also those of the program and the C library, which all servers of a host
    // share. A debug build's program is several times larger.
    let resident = kib(&daemon, "VmRSS:");
    assert!(cfg!(debug_assertions) || resident < 7168, "{resident} KiB resident");
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

#[test]
fn a_state_page_takes_less_than_hundred_kibibytes_and_the_keeper_two_mebibytes() {
    const MANY: u64 = 100;
    let options = ["--keeper", "--device", "virtio-rng", "--socket-count", "100"];
    let daemon = Daemon::start(&options);
    let mut clients: Vec<_> = (0..MANY)
        .map(|number| Client::negotiated(&daemon.folder.path().join(format!("s{number}"))))
        .collect();
    for client in &mut clients {
        client.map(0, 1 << 20, Some(&memory(1 << 20)));
        client.write(CONFIG, 4, &[6, 0]);
        client.read(CONFIG, 0, 256);
    }
    let keeper = daemon.pid();
    let child = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    let pages = kib_of(child.trim().parse().unwrap(), "RssShmem:") / MANY;
    let own = kib(&daemon, "RssAnon:");
    println!("{pages} KiB for each device, {own} KiB for the keeper");
    assert!(pages < 100, "{pages} KiB for each");
    assert!(own < 2048, "{own} KiB for the keeper");
}
