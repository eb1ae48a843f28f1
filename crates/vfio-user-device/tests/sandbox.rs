//! The sandbox, tried by processes of their own: there is no way back out of it.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Output};
use std::thread;

use rustix::process::Signal;
use vfio_user_device::sandbox::{self, Paths, SESSION, SandboxMode};

/// Names the test to a process that is to do its part in a sandbox.
const PART: &str = "SANDBOX_PART";

/// Runs `part` in another process that has started the sandbox.
fn in_sandbox(test: &str, mode: SandboxMode, part: fn()) -> Output {
    if std::env::var_os(PART).is_some_and(|name| name == test) {
        let folder = std::env::temp_dir();
        sandbox::start(mode, &Paths::system().socket(&folder.join("s")), 1).unwrap();
        part();
        std::process::exit(0);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads", "1"]).env(PART, test);
    // The harness that runs it has a thread of its own, and so the sandbox is that thread's.
    command.output().unwrap()
}

/// The same in a thread that has become a session.
fn in_session(part: fn()) {
    let session = thread::spawn(move || {
        SESSION.enter();
        part();
    });
    session.join().unwrap();
}

fn assert_succeeds(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

fn assert_is_ended(output: &Output) {
    assert_eq!(output.status.signal(), Some(Signal::SYS.as_raw()), "{output:?}");
}

#[test]
fn a_session_that_starts_a_program_ends_the_process() {
    let part = || in_session(|| drop(Command::new("/bin/true").status()));
    assert_is_ended(&in_sandbox(
        "a_session_that_starts_a_program_ends_the_process",
        SandboxMode::On,
        part,
    ));
}

#[test]
fn a_session_that_connects_somewhere_ends_the_process() {
    let part = || in_session(|| drop(std::net::TcpStream::connect("127.0.0.1:1")));
    assert_is_ended(&in_sandbox(
        "a_session_that_connects_somewhere_ends_the_process",
        SandboxMode::On,
        part,
    ));
}

#[test]
fn a_session_cannot_make_memory_executable() {
    let part = || {
        in_session(|| {
            let memory = memmap2::MmapMut::map_anon(4096).unwrap();
            let _ = memory.make_exec();
        });
    };
    let output = in_sandbox("a_session_cannot_make_memory_executable", SandboxMode::On, part);
    assert_is_ended(&output);
}

#[test]
fn a_session_that_opens_a_file_is_told_that_it_cannot() {
    let part = || in_session(|| drop(File::open("/proc/self/status").unwrap_err()));
    assert_succeeds(&in_sandbox(
        "a_session_that_opens_a_file_is_told_that_it_cannot",
        SandboxMode::On,
        part,
    ));
}

#[test]
fn a_session_starts_threads() {
    let part = || in_session(|| thread::spawn(|| ()).join().unwrap());
    assert_succeeds(&in_sandbox("a_session_starts_threads", SandboxMode::On, part));
}

#[test]
fn with_log_a_session_does_everything() {
    let part = || {
        in_session(|| {
            assert!(Command::new("/bin/true").status().unwrap().success());
            File::open("/etc/passwd").unwrap();
        });
    };
    assert_succeeds(&in_sandbox("with_log_a_session_does_everything", SandboxMode::Log, part));
}

#[test]
fn files_outside_the_paths_cannot_be_opened_and_sockets_be_made() {
    let part = || {
        if !sandbox::status().files {
            eprintln!("SKIPPED: the kernel has no Landlock");
            return;
        }
        let error = File::open("/etc/passwd").unwrap_err();
        assert!(sandbox::remedy(&error).unwrap().contains("--sandbox-folder"));
        let folder = std::env::temp_dir();
        let socket = folder.join(format!("sandbox-test-{}", std::process::id()));
        drop(UnixListener::bind(&socket).unwrap());
        std::fs::remove_file(socket).unwrap();
        UnixListener::bind("/usr/sandbox-test").unwrap_err();
        File::open("/dev/urandom").unwrap();
        assert!(Command::new("/bin/true").status().unwrap().success());
    };
    assert_succeeds(&in_sandbox(
        "files_outside_the_paths_cannot_be_opened_and_sockets_be_made",
        SandboxMode::On,
        part,
    ));
}

#[test]
fn memory_is_bounded() {
    let part = || {
        let mut memory: Vec<u8> = Vec::new();
        memory.try_reserve(1 << 30).unwrap_err();
        memory.try_reserve(64 << 20).unwrap();
        // One that serves more may have more.
        sandbox::bound_memory(1000);
        memory.try_reserve(1 << 30).unwrap();
    };
    assert_succeeds(&in_sandbox("memory_is_bounded", SandboxMode::On, part));
}
