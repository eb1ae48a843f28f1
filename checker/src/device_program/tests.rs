//! Device programs that mean no good.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// Perl that makes the socket and says so.
const LISTEN: &str = "use Socket; socket(my $s, PF_UNIX, SOCK_STREAM, 0); \
    bind($s, sockaddr_un('device.sock')) or die; listen($s, 1); syswrite(STDOUT, \"\\n\");";

/// Runs something with a program of this Perl, and its run.
fn with<T>(perl: &str, then: impl FnOnce(&RunDir, Result<DeviceProgram<'_>, String>) -> T) -> T {
    let run = RunDir::create("checker-device-program").expect("a folder can be made");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let program = folder.path().join("device");
    fs::write(&program, format!("#!/usr/bin/perl\n{perl}\n")).expect("writable");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let built = BuiltDevice { program, sanitized: false };
    let device = DeviceProgram::start(&run, 1, &built).map_err(|stop| match stop {
        Stop::Verdict(verdict) => verdict.message(),
        Stop::Lab(error) => panic!("the lab failed: {error:#}"),
    });
    then(&run, device)
}

/// The hint that a program gets which does not start.
fn fault(perl: &str) -> String {
    with(perl, |_, device| device.map(drop).expect_err("it is no device"))
}

/// How a program ends that starts.
fn end(perl: &str) -> String {
    with(&format!("{LISTEN} {perl}"), |_, device| {
        let mut device = device.expect("it listens");
        let begun = Instant::now();
        loop {
            if let Some(end) = device.ended().expect("it can be waited for") {
                assert!(device.over_limits().expect("it can be waited for"), "{end}");
                return end;
            }
            assert!(begun.elapsed() < WAIT_TIMEOUT, "{perl} goes on");
            std::thread::sleep(process::POLL);
        }
    })
}

#[test]
fn a_socket_is_out_of_the_programs_reach_and_its_folder_goes_with_it() {
    with(&format!("{LISTEN} open(F, '>made'); sleep 1000"), |run, device| {
        let device = device.expect("it listens");
        assert!(!device.folder().join(SOCKET).exists());
        run.connect("device-1.sock").expect("the device listens there");
        drop(device);
        assert!(!run.path().join("device-1").exists());
        assert!(!run.path().join("device-1.sock").exists());
        assert!(run.path().join("device-1.log").exists());
    });
}

#[test]
fn what_is_no_socket_is_refused() {
    let ready = "syswrite(STDOUT, \"\\n\"); sleep 1000";
    let link = fault(&format!("symlink('../../other/my-rng.sock', 'device.sock'); {ready}"));
    assert!(link.contains("and made a symbolic link"), "{link}");
    let folder = fault(&format!("mkdir('device.sock'); {ready}"));
    assert!(folder.contains("and made a folder"), "{folder}");
    let nothing = fault(ready);
    assert!(nothing.contains("there is no socket"), "{nothing}");
}

#[test]
fn too_much_disk_ends_it() {
    let fill = "for my $n (0..40) { open(F, '>', \"$n\"); print F 'x' x (4 << 20); } sleep 1000";
    assert_eq!(end(fill), "wrote too much to the disk and was killed");
    assert_eq!(fault(fill), "the device program wrote too much to the disk and was killed");
}

#[test]
fn too_much_memory_ends_it() {
    let hog = "for (1..3) { if (!fork) { $x = 'x' x 500_000_000; sleep 1000 } } sleep 1000";
    assert_eq!(end(hog), "used too much memory and was killed");
}

#[test]
fn an_endless_log_is_called_that() {
    let endless = "$x = 'x' x 65536; print STDERR $x while 1;";
    assert_eq!(end(endless), "was killed (endless output: its log is longer than 64 MiB)");
    let fault = fault(endless);
    assert!(fault.contains("its log is longer than 64 MiB"), "{fault}");
}

#[test]
fn a_program_that_closes_its_pipe_and_ends_is_not_said_to_be_slow() {
    with(&format!("{LISTEN} sleep 1; exit 3"), |_, device| {
        let mut device = device.expect("it listens");
        // A pipe that is closed at once: bubblewrap keeps the program's own open for longer.
        let mut other = process::tied("true");
        let mut other = other.stdout(Stdio::piped()).spawn().expect("setpriv and true exist");
        let pipe = other.stdout.take().expect("it is a pipe");
        other.wait().expect("it ends");
        let fault = device.not_ready(pipe).expect("the lab works").expect("nothing was said");
        assert!(fault.contains("it ended with exit status 3"), "{fault}");
    });
}
