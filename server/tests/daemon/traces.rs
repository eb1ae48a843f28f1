//! `trace` and `replay`, with a recording of the daemon's own.

use std::process::{Command, Output};

use rustix::process::Signal;

use crate::daemon::{BINARY, Daemon};
use crate::rng_guest::Guest;

/// A daemon that has ended, with its recording.
struct Recorded(Daemon);

impl Recorded {
    /// Records what a client does.
    fn new(options: &[&str], act: impl FnOnce(&Daemon)) -> Self {
        let mut daemon = Daemon::start(&[options, &["--record", "recording"]].concat());
        act(&daemon);
        daemon.signal(Signal::TERM);
        assert!(daemon.wait().success(), "{}", daemon.log());
        Recorded(daemon)
    }

    /// A driver that reads, seeds and reads.
    fn my_rng() -> Self {
        Recorded::new(&["--generator", "glibc"], |daemon| {
            let mut client = daemon.client();
            client.read_u32(0, 0);
            client.write_u32(0, 4, 1);
            client.read_u32(0, 0);
            client.read_u32(0, 0x10);
        })
    }

    fn run(&self, command: &str, options: &[&str]) -> Output {
        let file = self.0.file("recording");
        let mut program = Command::new(BINARY);
        program.arg(command).arg(file).args(options).current_dir(self.0.folder.path());
        program.output().unwrap()
    }

    fn trace(&self, options: &[&str]) -> String {
        let output = self.run("trace", options);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Whether a replay finds no difference, and what it says.
    fn replay(&self, options: &[&str]) -> (bool, String) {
        let output = self.run("replay", options);
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
}

#[test]
fn a_trace_has_a_line_for_each_access_by_its_name() {
    let recorded = Recorded::my_rng();
    let text = recorded.trace(&["--kind", "register", "--last", "3"]);
    let lines: Vec<&str> = text.lines().collect();
    let wanted = ["SEED write 4 <- 0x1", "RANDOM read 4 -> 0x6b8b4567", "BAR0+0x10 read 4 -> 0x0"];
    assert_eq!(lines.len(), 3, "{text}");
    for (line, words) in lines.into_iter().zip(wanted) {
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(recorded.trace(&["--register", "seed"]).lines().count(), 1);
}

#[test]
fn other_forms_are_written_where_they_are_wanted() {
    let recorded = Recorded::my_rng();
    let json = recorded.trace(&["--format", "json", "--register", "SEED"]);
    let entry: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&entry["name"], &entry["value"]), (&"SEED".into(), &"0x1".into()));
    recorded.trace(&["--html", "page.html"]);
    let page = std::fs::read_to_string(recorded.0.file("page.html")).unwrap();
    assert!(page.contains("RANDOM read 4 -") && page.ends_with("</html>\n"), "{page}");
    recorded.trace(&["--format", "pcapng", "--output", "file.pcapng"]);
    let bytes = std::fs::read(recorded.0.file("file.pcapng")).unwrap();
    assert_eq!(bytes[..4], 0x0a0d_0d0a_u32.to_le_bytes());
}

#[test]
fn a_file_that_is_no_recording_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    std::fs::write(&path, "something else that is long enough to be one").unwrap();
    let output = Command::new(BINARY).arg("trace").arg(&path).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("other: no recording"), "{said}");
}

#[test]
fn the_recorded_device_gives_the_same_answers_again() {
    // The operating system has chosen its seed: the recording has the state.
    let (fine, said) = Recorded::my_rng().replay(&[]);
    assert!(fine && said.contains("5 commands, 4 accesses, each answer as recorded"), "{said}");
}

#[test]
fn another_device_shows_the_first_difference_and_what_is_around_it() {
    let recorded = Recorded::new(&["--generator", "glibc", "--seed", "1"], |daemon| {
        let mut client = daemon.client();
        client.write_u32(0, 4, 1);
        client.read_u32(0, 4);
        client.read_u32(0, 0);
    });
    // The state is a generator's of another kind, which --device my-rng takes over with the rest.
    let (fine, said) = recorded.replay(&["--device", "virtio-rng"]);
    assert!(!fine && said.contains("the recording is of a device 1234:cafe"), "{said}");
    let path = recorded.0.file("recording");
    let mut bytes = std::fs::read(&path).unwrap();
    // The answer to the read of RANDOM is another one now: that of srand(1) begins 0x6b8b4567.
    let answer = 0x6b8b_4567_u32.to_le_bytes();
    let at = bytes.windows(4).rposition(|found| found == answer).unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let (fine, said) = recorded.replay(&[]);
    assert!(!fine, "{said}");
    for words in [
        "SEED write 4 <- 0x1",
        "RANDOM read 4 -> 0x6b8b4566",
        "^ the recorded answer is 0x6b8b4566",
        "^ now: 0x6b8b4567",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn an_entropy_device_with_a_seeded_source_is_replayed_with_its_memory_and_interrupts() {
    let options = ["--device", "virtio-rng", "--source", "chacha20:7"];
    let recorded = Recorded::new(&options, |daemon| {
        let mut guest = Guest::at(&daemon.path());
        for _ in 0..3 {
            guest.ask(64);
            assert_eq!(guest.answer().len(), 64);
        }
    });
    let (fine, said) = recorded.replay(&[]);
    assert!(fine && said.contains("each answer as recorded"), "{said}");
    let (fine, said) = recorded.replay(&["--device", "virtio-rng", "--source", "chacha20:8"]);
    assert!(!fine && said.contains("^ now: it writes 64 bytes"), "{said}");
}
