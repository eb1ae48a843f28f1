//! Recordings as a driver's would be.

use vfio_user_device::recording::{Event, Message, Recorded};
use vfio_user_device::wire::{Command, HeaderFlags};

use super::*;

/// An access to BAR 0 of 4 bytes.
fn access(command: Command, offset: u64, value: u32) -> Event {
    let header = |size: u32, flags: u32| {
        let mut header = [0; 16];
        header[2..4].copy_from_slice(&(command as u16).to_le_bytes());
        header[4..8].copy_from_slice(&size.to_le_bytes());
        header[8..12].copy_from_slice(&flags.to_le_bytes());
        header
    };
    let mut head = offset.to_le_bytes().to_vec();
    head.extend([0, 0, 0, 0, 4, 0, 0, 0]);
    let whole = [head.as_slice(), &value.to_le_bytes()].concat();
    let reads = command == Command::RegionRead;
    let (payload, answer) = if reads { (head, whole) } else { (whole, head) };
    let reply = Some((header(0, HeaderFlags::REPLY.bits()), answer));
    Event::Message(Message { command: header(0, 0), payload, fds: 0, reply, duration: 1 })
}

fn trace(accesses: &[(Command, u64, u32)]) -> Trace {
    let begin = Event::Begin(Box::default());
    let accesses =
        accesses.iter().map(|(command, offset, value)| access(*command, *offset, *value));
    let events = std::iter::once(begin).chain(accesses).zip(0..);
    let events = events.map(|(event, time)| Recorded { time, session: 1, event }).collect();
    Trace::of(File { events, ..File::default() })
}

#[test]
fn a_failure_shows_accesses_with_the_profiles_names_and_where_the_seed_belongs() {
    use Command::{RegionRead, RegionWrite};
    let profile = Profile::published().expect("it is a profile");
    let trace = trace(&[
        (RegionRead, 0, 0x2a),
        (RegionRead, 0, 0x2b),
        (RegionWrite, 0, 7),
        (RegionWrite, 8, 7),
        (RegionWrite, 4, 7),
        (RegionRead, 4, 0),
    ]);
    assert_eq!(
        words(&trace, &profile),
        "the device saw 6 accesses in this check:\n  \
         read RANDOM (0x0, 4 bytes) -> 0x2a, and 1 more like it\n  \
         wrote RANDOM (0x0, 4 bytes) <- 0x7: the seed register is SEED at 0x4\n  \
         wrote BAR0+0x8 (0x8, 4 bytes) <- 0x7: the seed register is SEED at 0x4\n  \
         wrote SEED (0x4, 4 bytes) <- 0x7\n  \
         read SEED (0x4, 4 bytes) -> 0x0"
    );
}

#[test]
fn accesses_are_told_from_what_else_was_said() {
    let profile = Profile::published().expect("it is a profile");
    let text = words(&trace(&[(Command::RegionRead, 0, 1)]), &profile);
    assert_eq!(said(&format!("an oops\n{text}")).trim_end(), "an oops");
    assert_eq!(said("an oops"), "an oops");
}

#[test]
fn only_the_last_of_many_accesses_are_shown() {
    let profile = Profile::published().expect("it is a profile");
    let many: Vec<_> = (0..100).map(|value| (Command::RegionWrite, 4, value)).collect();
    let text = words(&trace(&many), &profile);
    assert_eq!(text.lines().count(), SHOWN + 2, "{text}");
    assert!(text.ends_with("<- 0x63"), "{text}");
}

#[test]
fn a_students_recording_is_taken_only_if_it_is_a_plain_file() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let (theirs, ours) = (folder.path().join("theirs"), folder.path().join("device-1"));
    fs::create_dir(&theirs).expect("writable");
    std::os::unix::fs::symlink("/etc/passwd", of_device(&theirs)).expect("writable");
    assert!(find(folder.path()).is_empty(), "a link is not followed");
    take(&theirs, &ours);
    assert!(!ours.with_extension(EXTENSION).exists());
    fs::remove_file(of_device(&theirs)).expect("it is there");
    fs::write(of_device(&theirs), "anything").expect("writable");
    take(&theirs, &ours);
    assert!(ours.with_extension(EXTENSION).exists());
    assert_eq!(find(folder.path()), [b"anything"]);
}
