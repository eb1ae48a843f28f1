//! Attempts to get out of the sandbox, and over its limits.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use super::*;
use crate::container;

/// Small, so that reaching them is quick; with time for a machine that does much else.
const LIMITS: Limits = Limits {
    time: Duration::from_secs(60),
    memory: 256 << 20,
    processes: 32,
    disk: 64 << 20,
    output: 1000,
};

/// Runs a shell script in a sandbox with the guest's programs, in a folder it may write to.
fn script(script: &str, limits: Limits) -> (Outcome, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let sandbox = Sandbox::with_build_root(limits)
        .expect("the root is there")
        .writable(folder.path(), Path::new("/work"))
        .folder(Path::new("/work"));
    let outcome = sandbox.run("/usr/bin/sh", &["-c", script]).expect("bubblewrap runs");
    (outcome, folder)
}

/// Whether a shell command succeeds in a sandbox.
fn succeeds(command: &str) -> bool {
    let (outcome, _folder) = script(&format!("({command}) && echo yes || echo no"), LIMITS);
    let text = text(&outcome);
    let answer = text.lines().last().unwrap_or_default();
    assert!(["yes", "no"].contains(&answer), "the shell itself did not run: {outcome:?}");
    answer == "yes"
}

fn text(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.output).into_owned()
}

#[test]
fn a_program_runs_and_its_files_come_out() {
    let (outcome, folder) = script("echo made > made; echo said; exit 3", LIMITS);
    assert_eq!(outcome.text(), "said\n");
    assert!(matches!(outcome.end, End::Ended(status) if status.code() == Some(3)));
    assert!(!outcome.end.success());
    let made = fs::read_to_string(folder.path().join("made")).expect("it was written");
    assert_eq!(made, "made\n");
}

#[test]
fn the_host_is_not_seen() {
    let secret = tempfile::NamedTempFile::new().expect("a file can be made");
    let paths = [
        secret.path().to_path_buf(),
        crate::paths::checkout().join("Cargo.toml"),
        crate::paths::lab().join("lock"),
        "/etc/passwd".into(),
        "/home".into(),
        "/root".into(),
        "/sys".into(),
        "/proc/1/root/etc/passwd".into(),
    ];
    for path in paths {
        assert!(path.exists() || path.starts_with("/proc"), "{} is no proof", path.display());
        assert!(!succeeds(&format!("ls -d '{}'", path.display())), "{} is seen", path.display());
    }
    assert!(succeeds("ls -d /usr/bin/gcc"), "the guest root is seen");
    let (outcome, _folder) = script("ls / && ls /work /tmp", LIMITS);
    let names = text(&outcome);
    let expected =
        "bin\nbusybox\ndev\netc\nlib\nlib64\nproc\nsbin\ntmp\nusr\nwork\n/tmp:\n\n/work:\n";
    assert_eq!(names, expected);
}

#[test]
fn another_submission_is_not_seen() {
    let (_outcome, other) = script("echo theirs > answer", LIMITS);
    let (outcome, _folder) = script(
        &format!(
            "cat {0}/answer; cat /work/../*/answer; find / -name answer",
            other.path().display()
        ),
        LIMITS,
    );
    assert_eq!(text(&outcome), "");
}

#[test]
fn nothing_outside_can_be_written_to() {
    for path in ["/", "/usr", "/usr/bin", "/etc/alternatives", "/dev", "/proc/sys/kernel"] {
        assert!(!succeeds(&format!("echo x > {path}/new")), "{path} is writable");
    }
    let attempts = [
        "mount -t tmpfs none /mnt",
        "busybox mount -o remount,rw /usr",
        "busybox unshare --user --map-root-user busybox mount -o remount,rw /usr",
        "rm /usr/bin/gcc",
        "echo 1 > /proc/sys/kernel/printk",
        "busybox mknod /work/disk b 254 0 && head -c 1 /work/disk",
    ];
    for attempt in attempts {
        assert!(!succeeds(attempt), "{attempt} succeeded");
    }
    assert!(succeeds("echo x > /work/new && echo x > /tmp/new"));
}

#[test]
fn what_is_only_shown_cannot_be_written_to_by_its_owner_either() {
    let shown = tempfile::tempdir().expect("a folder can be made");
    fs::set_permissions(shown.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    let sandbox = Sandbox::with_build_root(LIMITS)
        .expect("the root is there")
        .shows(shown.path(), Path::new("/deep/below/shown"));
    let arguments = ["-c", "cd /deep/below/shown && echo begun && echo x > new"];
    let outcome = sandbox.run("/usr/bin/sh", &arguments).expect("bubblewrap runs");
    assert_eq!(text(&outcome), "begun\n");
    assert!(!outcome.end.success() && !shown.path().join("new").exists());
}

#[test]
fn it_is_nobody_without_capabilities_and_environment() {
    let (outcome, _folder) = script(
        "grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb|NoNewPrivs)' /proc/self/status; env",
        LIMITS,
    );
    let text = text(&outcome);
    assert!(!text.contains("Uid:\t0"), "{text}");
    assert!(!text.contains("Gid:\t0"), "{text}");
    for set in ["CapPrm", "CapEff", "CapAmb"] {
        assert!(text.contains(&format!("{set}:\t0000000000000000")), "{text}");
    }
    assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}

#[test]
fn there_is_no_network() {
    let (outcome, _folder) = script("tail -n +3 /proc/net/dev | cut -d: -f1", LIMITS);
    assert_eq!(text(&outcome).trim(), "lo");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("bound").port();
    let (outcome, _folder) =
        script(&format!("busybox nc -w 1 127.0.0.1 {port} </dev/null"), LIMITS);
    assert!(!outcome.end.success(), "the host answered");
}

#[test]
fn other_processes_are_not_seen() {
    let (outcome, _folder) = script("ls -d /proc/[0-9]* | wc -l", LIMITS);
    let count: u32 = text(&outcome).trim().parse().expect("a number");
    assert!(count < 8, "{count} processes");
}

#[test]
fn an_endless_loop_ends_with_its_children() {
    let limits = Limits { time: Duration::from_secs(1), ..LIMITS };
    // A child in a session of its own, which keeps the pipe open.
    let (outcome, _folder) = script("busybox setsid sleep 1000 & while :; do :; done", limits);
    assert_eq!(outcome.end, End::OutOfTime);
}

#[test]
fn a_fork_bomb_stays_small_and_ends() {
    let limits = Limits { time: Duration::from_secs(10), ..LIMITS };
    let bomb = "b() { echo x >> count; sleep 1000 & b & b & wait; }; b";
    let (outcome, folder) = script(bomb, limits);
    // The shell gives up when it cannot fork, so it may be over before the time is.
    assert!(!outcome.end.success(), "{outcome:?}");
    let count = fs::read(folder.path().join("count")).expect("it began").len() / 2;
    assert!(count <= 32, "{count} shells began");
}

#[test]
fn endless_output_is_cut_and_ends() {
    let limits = Limits { time: Duration::from_secs(5), ..LIMITS };
    let (outcome, _folder) = script("yes", limits);
    assert_eq!(outcome.end, End::OutOfTime);
    assert_eq!(outcome.output.len(), limits.output);
}

#[test]
fn a_large_file_ends_at_the_limit() {
    let (outcome, folder) = script("head -c 1000M /dev/zero > large", LIMITS);
    assert!(!outcome.end.success(), "{outcome:?}");
    let size = folder.path().join("large").metadata().expect("it began").len();
    assert!(size <= LIMITS.disk, "{size}");
}

#[test]
fn many_files_end_it() {
    let fill = "i=0; while :; do head -c 4M /dev/zero > $i; i=$((i+1)); done";
    let (outcome, _folder) = script(fill, LIMITS);
    assert_eq!(outcome.end, End::TooMuchDisk, "{outcome:?}");
}

#[test]
fn the_file_systems_in_memory_are_bounded() {
    let limits = Limits { disk: 1 << 40, time: Duration::from_secs(60), ..LIMITS };
    for folder in ["/tmp", "/dev/shm"] {
        let (outcome, _folder) = script(&format!("head -c 1000M /dev/zero > {folder}/x"), limits);
        assert!(!outcome.end.success(), "{folder} has room");
        assert!(outcome.text().contains("No space left"), "{}", outcome.text());
    }
}

#[test]
fn many_processes_with_memory_end_it() {
    let hog = "for i in 1 2 3 4; do perl -e '$x = \"x\" x 100_000_000; sleep 1000' & done; wait";
    let (outcome, _folder) = script(hog, LIMITS);
    assert_eq!(outcome.end, End::TooMuchMemory, "{outcome:?}");
}

#[test]
fn what_goes_on_is_watched_too() {
    let fill = "i=0; while :; do head -c 4M /dev/zero > $i; i=$((i+1)); done";
    let hog = "perl -e '$x = \"x\" x 200_000_000; sleep 1000' & \
        perl -e '$x = \"x\" x 200_000_000; sleep 1000'";
    for (script, end) in [(fill, End::TooMuchDisk), (hog, End::TooMuchMemory)] {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let sandbox = Sandbox::with_build_root(LIMITS)
            .expect("the root is there")
            .writable(folder.path(), Path::new("/work"))
            .folder(Path::new("/work"));
        let mut command = sandbox.command("/usr/bin/sh").expect("the folder is ours");
        command.args(["-c", script]).stdin(Stdio::null());
        let mut program = sandbox.start(&mut command).expect("bubblewrap runs");
        let begun = Instant::now();
        let found = loop {
            if let Some(found) = program.ended().expect("it can be waited for") {
                break found;
            }
            assert!(begun.elapsed() < LIMITS.time, "{script} goes on");
            std::thread::sleep(process::POLL);
        };
        assert_eq!(found, end, "{script}");
    }
}

/// Those of the attempts that a sandbox without namespaces stops as well.
const STOPPED_WITHOUT_NAMESPACES: [&str; 7] = [
    "a_program_runs_and_its_files_come_out",
    "the_host_is_not_seen",
    "another_submission_is_not_seen",
    "nothing_outside_can_be_written_to",
    "what_is_only_shown_cannot_be_written_to_by_its_owner_either",
    "an_endless_loop_ends_with_its_children",
    "a_large_file_ends_at_the_limit",
];

/// Runs tests of this program as in a plain container.
fn in_container(tests: &[&str]) {
    let program = std::env::current_exe().expect("this runs");
    let output = container::inside(|| {
        let mut command = container::command(&program);
        command.args(tests.iter().map(|test| format!("sandbox::tests::{test}")));
        Ok(command.args(["--exact", "--include-ignored"]).output()?)
    });
    let output = output.expect("the tests run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains(&format!(" {} passed", tests.len())), "{said}{errors}");
}

#[test]
fn without_namespaces_the_sandbox_stops_what_it_says() {
    if process::is_root() {
        in_container(&STOPPED_WITHOUT_NAMESPACES);
        in_container(&["landlock_and_a_filter_are_what_protects", "sockets_are_refused"]);
    }
}

#[test]
#[ignore = "in a container: without_namespaces_the_sandbox_stops_what_it_says runs it there"]
fn landlock_and_a_filter_are_what_protects() {
    let protection = Protection::here().expect("proot can be had");
    // Kernels before 5.13 have no Landlock, and others are built without it.
    assert!([Protection::Landlock, Protection::User].contains(&protection), "{protection}");
    assert!(protection.keeps_files());
}

#[test]
#[ignore = "in a container: without_namespaces_the_sandbox_stops_what_it_says runs it there"]
fn sockets_are_refused() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.set_nonblocking(true).expect("it is a socket");
    let port = listener.local_addr().expect("bound").port();
    let (outcome, _folder) = script(&format!("busybox nc -w 1 127.0.0.1 {port}"), LIMITS);
    assert!(!outcome.end.success(), "{}", outcome.text());
    let reached = listener.accept().map_err(|error| error.kind());
    assert_eq!(reached.map(drop), Err(io::ErrorKind::WouldBlock));
}

#[test]
fn what_user_namespaces_know_is_understood() {
    assert!(maps("         0          0 4294967295\n", &SANDBOX_USERS));
    assert!(maps("0 1000 1\n1 100000 65536\n", &SANDBOX_USERS));
    assert!(!maps("0 1000 1\n", &SANDBOX_USERS));
    assert!(!maps("", &SANDBOX_USERS));
}
