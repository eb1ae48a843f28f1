//! Whether a process of a daemon is in its sandbox: what the daemon says, what the kernel says, and what
//! it cannot do.

use std::fs;
use std::process::Command;

use crate::daemon::{BINARY, Daemon};

/// What `status` says at the control socket `control`.
pub fn status(daemon: &Daemon, format: &str) -> String {
    let mut command = Command::new(BINARY);
    command.args(["status", "--format", format, "--control-socket"]).arg(daemon.file("control"));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// A line of the status of each thread of a process, by the threads' names.
pub fn of_threads(process: u32, key: &str) -> Vec<(String, String)> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let mut found: Vec<_> = threads
        .filter_map(|thread| {
            let folder = thread.unwrap().path();
            // The thread that answered `status` may be gone by now.
            let status = fs::read_to_string(folder.join("status")).ok()?;
            let name = fs::read_to_string(folder.join("comm")).ok()?;
            let value = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            Some((name.trim().to_owned(), value.trim().to_owned()))
        })
        .collect();
    found.sort();
    found
}

/// Fails if one of the process's threads is not in the sandbox that a daemon has by default.
#[track_caller]
pub fn assert_in_sandbox(daemon: &Daemon, process: u32) {
    let said = status(daemon, "json");
    assert!(said.contains(&format!("\"process\":{process},")), "{said}");
    assert!(said.contains(r#""sandbox":{"mode":"on","system-calls":true"#), "{said}");
    let modes = of_threads(process, "Seccomp:");
    assert!(modes.len() >= 3 && modes.iter().all(|(_, mode)| mode == "2"), "{modes:?}");
    let filters = of_threads(process, "Seccomp_filters:");
    let of = |name: &str| {
        let found = filters.iter().find(|(thread, _)| thread == name);
        found.map(|(_, count)| count.parse::<u32>().unwrap()).unwrap()
    };
    assert!(of("session") > of("my-rng-server"), "{filters:?}");
    if !said.contains(r#""files":true"#) {
        return eprintln!("SKIPPED: the kernel has no Landlock");
    }
    // A file that the options do not name.
    let elsewhere = tempfile::tempdir().unwrap();
    let program = elsewhere.path().join("program");
    fs::copy("/bin/true", &program).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["exchange", "--control-socket"]).arg(daemon.file("control"));
    let refused = command.arg("--binary").arg(program).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("Permission denied"), "{said}");
}
