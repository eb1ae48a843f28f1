//! Follows the teacher's page, `docs/teaching.md`: writes every file, runs every command in an empty
//! folder with links to the checkout's own folders, and compares what they print.

mod page;

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lab::{paths, process};
use page::Step;
use rustix::process::{Pid, Signal, kill_process};

/// How long a command may take: the first one that needs it fetches packages and compiles.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30 * 60);
/// What `--watch` says when it waits for the reader.
const WATCHING: &str = "watching;";
/// Folders and files of the checkout that commands name.
const CHECKOUT: [&str; 9] = [
    "checker",
    "course",
    "crates",
    "docs",
    "guest-driver",
    "lab",
    "qemu-device",
    "scripts",
    "server",
];

#[test]
fn every_command_of_the_page_does_what_it_says() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    for name in CHECKOUT {
        symlink(paths::checkout().join(name), folder.path().join(name)).expect("an empty folder");
    }
    let page = fs::read_to_string(paths::checkout().join("docs/teaching.md")).expect("it is there");
    let steps = page::steps(&page);
    assert!(steps.len() > 5, "the page has {} steps", steps.len());
    for step in steps {
        match step {
            Step::File { name, text } => {
                let path = folder.path().join(name);
                let parent = path.parent().expect("it is in a folder");
                fs::create_dir_all(parent).expect("a folder can be made");
                fs::write(path, text).expect("writable");
            }
            Step::Command { line, command, printed } => {
                println!("docs/teaching.md:{line}: {command}");
                let begun = Instant::now();
                let (status, output) = run(folder.path(), &command);
                println!("    {:.0} s, {status}", begun.elapsed().as_secs_f64());
                let missing = page::missing(&printed, &output);
                assert_eq!(missing, None, "docs/teaching.md:{line}: {command}\n{output}");
                // A command that is to fail ends with `|| true` on the page, or says so.
                assert!(status.success(), "docs/teaching.md:{line}: {command}: {status}\n{output}");
            }
        }
    }
}

/// Types a command in a folder, and returns how it ended and what it printed. A command that
/// watches is interrupted when it begins to.
fn run(folder: &Path, command: &str) -> (ExitStatus, String) {
    let said = folder.join(".said");
    let out = File::create(&said).expect("writable");
    let err = out.try_clone().expect("a file can be shared");
    // The shell becomes the command, so that it is the one to be interrupted.
    let mut child = Command::new("bash")
        .args(["-c", command])
        .current_dir(folder)
        // The reader's progress in the course, and not that of the user of this test.
        .env("XDG_STATE_HOME", folder.join(".state"))
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .spawn()
        .expect("there is bash");
    let output = || String::from_utf8_lossy(&fs::read(&said).unwrap_or_default()).into_owned();
    let status = if command.contains("--watch") {
        wait(&mut child, || output().contains(WATCHING));
        interrupt(&child);
        let status = wait(&mut child, || false).expect("it ends when it is interrupted");
        assert_eq!(status.code(), Some(128 + Signal::INT.as_raw()), "{}", output());
        ExitStatus::default()
    } else {
        wait(&mut child, || false).expect("it ends")
    };
    (status, output())
}

/// Waits for the end of a process, or until something is so.
fn wait(child: &mut Child, until: impl Fn() -> bool) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("it can be asked") {
            return Some(status);
        }
        if until() {
            return None;
        }
        assert!(
            begun.elapsed() < COMMAND_TIMEOUT,
            "it still runs after {} s",
            COMMAND_TIMEOUT.as_secs()
        );
        std::thread::sleep(process::POLL);
    }
}

fn interrupt(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.expect("a process has an id"), Signal::INT).expect("it still runs");
}
