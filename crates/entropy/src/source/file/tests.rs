use std::fs::OpenOptions;
use std::io::Write;

use rustix::fs::{CWD, mkfifoat};
use rustix::io::Errno;
use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

use super::*;
use crate::source::ReadOutcome;
use crate::source::testing::{DEADLINE, eventually, numbered, read, read_exactly, woken_within};

/// A source over a path in a folder of its own.
struct Bench {
    folder: tempfile::TempDir,
    waker: Waker,
}

impl Bench {
    fn new() -> Self {
        Bench { folder: tempfile::tempdir().unwrap(), waker: Waker::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("source")
    }

    fn file(&self, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(), bytes).unwrap();
        self.path()
    }

    fn fifo(&self) -> PathBuf {
        mkfifoat(CWD, self.path(), Mode::RUSR | Mode::WUSR).unwrap();
        self.path()
    }

    fn open(&self, path: &Path, repeat: bool) -> Box<dyn Source> {
        open(path, repeat, self.waker.clone()).unwrap()
    }

    fn append(&self, bytes: &[u8]) {
        OpenOptions::new().append(true).open(self.path()).unwrap().write_all(bytes).unwrap();
    }
}

/// Writes to a FIFO, which the source has open.
fn writer(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

/// Both ends of a terminal, the second one by its path.
fn terminal() -> (OwnedFd, String) {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap().into_string().unwrap();
    (terminal, name)
}

#[test]
fn a_file_is_read_in_order() {
    let bench = Bench::new();
    let bytes = numbered(3 * CAPACITY + 17);
    let mut source = bench.open(&bench.file(&bytes), false);
    let mut read = read_exactly(&mut *source, &bench.waker, 10);
    read.extend(read_exactly(&mut *source, &bench.waker, bytes.len() - 10));
    assert!(read == bytes);
}

#[test]
fn a_file_of_zeros_is_as_good_as_any() {
    let bench = Bench::new();
    let mut source = bench.open(&bench.file(&[0; 1000]), false);
    assert_eq!(read_exactly(&mut *source, &bench.waker, 1000), [0; 1000]);
}

#[test]
fn requests_wait_at_the_end_of_a_file_until_it_grows() {
    let bench = Bench::new();
    let mut source = bench.open(&bench.file(&[1, 2, 3]), false);
    assert_eq!(read(&mut *source, &bench.waker, 10), [1, 2, 3]);
    assert_eq!(source.read(&mut [0; 10]), ReadOutcome::Pending);
    assert!(!woken_within(&bench.waker, Duration::from_millis(50)));
    bench.append(&[4, 5]);
    assert_eq!(read(&mut *source, &bench.waker, 10), [4, 5]);
}

#[test]
fn a_repeated_file_starts_again_and_skips_nothing() {
    let bench = Bench::new();
    let bytes = numbered(1000);
    let mut source = bench.open(&bench.file(&bytes), true);
    let read = read_exactly(&mut *source, &bench.waker, 3500);
    assert!(read.iter().eq(bytes.iter().cycle().take(3500)));
}

#[test]
fn an_empty_file_that_is_repeated_waits_too() {
    let bench = Bench::new();
    let mut source = bench.open(&bench.file(&[]), true);
    assert_eq!(source.read(&mut [0; 10]), ReadOutcome::Pending);
    assert!(!woken_within(&bench.waker, Duration::from_millis(50)));
    bench.append(&[7]);
    assert_eq!(read_exactly(&mut *source, &bench.waker, 3), [7, 7, 7]);
}

#[test]
fn a_fifo_gives_what_was_asked_for_and_no_more() {
    let bench = Bench::new();
    let path = bench.fifo();
    let mut source = bench.open(&path, false);
    let mut writer = writer(&path);
    writer.write_all(&numbered(100)).unwrap();
    assert!(!woken_within(&bench.waker, Duration::from_millis(20)), "there is no request");
    assert_eq!(rustix::io::ioctl_fionread(&writer).unwrap(), 100);
    assert_eq!(read(&mut *source, &bench.waker, 10), numbered(100)[..10]);
    assert_eq!(rustix::io::ioctl_fionread(&writer).unwrap(), 90);
    assert_eq!(read(&mut *source, &bench.waker, 1000), numbered(100)[10..], "a short read");
}

#[test]
fn writers_of_a_fifo_come_and_go() {
    let bench = Bench::new();
    let path = bench.fifo();
    assert!(matches!(Opened::new(&path).unwrap().kind, Kind::Fifo { _writer: Some(_) }));
    let mut source = bench.open(&path, false);
    for number in 0..5 {
        assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
        writer(&path).write_all(&[number; 4]).unwrap();
        assert_eq!(read_exactly(&mut *source, &bench.waker, 4), [number; 4]);
    }
}

#[test]
fn a_fifo_that_cannot_be_held_open_is_looked_at_again() {
    let bench = Bench::new();
    let path = bench.fifo();
    let mut opened = Opened::new(&path).unwrap();
    opened.kind = Kind::Fifo { _writer: None };
    let reader = Reader {
        path: path.clone(),
        repeat: false,
        opened: Some(opened),
        position: 0,
        read: None,
        said_ready: false,
        backoff: RetryBackoff::new("test"),
    };
    let waker = bench.waker.clone();
    let mut source = Worker::start(waker, |mailbox| reader.run(mailbox)).unwrap();
    for number in 0..3 {
        assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
        assert!(!woken_within(&bench.waker, Duration::from_millis(20)));
        writer(&path).write_all(&[number; 4]).unwrap();
        assert_eq!(read_exactly(&mut source, &bench.waker, 4), [number; 4]);
    }
}

#[test]
fn bytes_for_a_request_that_was_forgotten_are_the_next_ones() {
    let bench = Bench::new();
    let mut source = bench.open(&bench.file(&numbered(100)), false);
    assert_eq!(source.read(&mut [0; 60]), ReadOutcome::Pending);
    assert!(woken_within(&bench.waker, DEADLINE));
    assert_eq!(read_exactly(&mut *source, &bench.waker, 100), numbered(100));
}

#[test]
fn memory_devices_answer_at_once() {
    let bench = Bench::new();
    let mut buffer = [1; 100];
    assert_eq!(
        bench.open(Path::new("/dev/zero"), false).read(&mut buffer),
        ReadOutcome::Bytes(100)
    );
    assert_eq!(buffer, [0; 100]);
    let outcome = bench.open(Path::new("/dev/urandom"), false).read(&mut buffer);
    assert_eq!(outcome, ReadOutcome::Bytes(100));
    assert_ne!(buffer, [0; 100]);
    let outcome = bench.open(Path::new("/dev/null"), false).read(&mut buffer);
    assert_eq!(outcome, ReadOutcome::RetryAfter(Duration::from_millis(10)));
}

#[test]
fn a_terminal_is_read_as_it_is_typed() {
    let bench = Bench::new();
    let (terminal, name) = terminal();
    let mut source = bench.open(Path::new(&name), false);
    assert_eq!(source.read(&mut [0; 10]), ReadOutcome::Pending);
    rustix::io::write(&terminal, b"ab\n").unwrap();
    assert_eq!(read(&mut *source, &bench.waker, 10), b"ab\n");
}

#[test]
fn a_terminal_that_was_hung_up_is_opened_anew() {
    let bench = Bench::new();
    let link = |name: &str| {
        let next = bench.path().with_extension("next");
        std::os::unix::fs::symlink(name, &next).unwrap();
        std::fs::rename(next, bench.path()).unwrap();
    };
    let (first, name) = terminal();
    link(&name);
    let mut source = bench.open(&bench.path(), false);
    assert_eq!(source.read(&mut [0; 10]), ReadOutcome::Pending);
    let (second, name) = terminal();
    link(&name);
    rustix::io::write(&second, b"cd\n").unwrap();
    drop(first);
    assert_eq!(read(&mut *source, &bench.waker, 10), b"cd\n");
}

#[test]
fn a_file_that_vanished_after_an_error_is_opened_anew_where_it_was_left() {
    let bench = Bench::new();
    let path = bench.file(&numbered(100));
    let mut reader = Reader {
        path: path.clone(),
        repeat: false,
        opened: None,
        position: 40,
        read: None,
        said_ready: false,
        backoff: RetryBackoff::new("test"),
    };
    std::fs::rename(&path, path.with_extension("away")).unwrap();
    let error = reader.read(&mut [0; 60]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(Errno::NOENT.raw_os_error()));
    std::fs::rename(path.with_extension("away"), &path).unwrap();
    let mut buffer = [0; 60];
    assert_eq!(reader.read(&mut buffer).unwrap(), 60);
    assert_eq!(buffer, numbered(100)[40..]);
}

#[test]
fn a_file_that_was_replaced_is_read_to_its_end_and_then_the_new_one() {
    for repeat in [false, true] {
        let bench = Bench::new();
        let mut source = bench.open(&bench.file(&[1, 2, 3]), repeat);
        assert_eq!(read(&mut *source, &bench.waker, 2), [1, 2]);
        let next = bench.path().with_extension("next");
        std::fs::write(&next, [4, 5, 6, 7]).unwrap();
        std::fs::rename(next, bench.path()).unwrap();
        assert_eq!(read_exactly(&mut *source, &bench.waker, 4), [3, 4, 5, 6]);
    }
}

#[test]
fn a_fifo_that_was_replaced_is_left_for_the_new_one() {
    let bench = Bench::new();
    let mut source = bench.open(&bench.fifo(), false);
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    std::fs::rename(bench.path(), bench.path().with_extension("old")).unwrap();
    let path = bench.fifo();
    // A FIFO that no process reads cannot be opened like this.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let mut writer = None;
    eventually("the new one is opened", || {
        writer = rustix::fs::open(&path, flags, Mode::empty()).ok();
        writer.is_some()
    });
    rustix::io::write(writer.unwrap(), &[7; 4]).unwrap();
    assert_eq!(read_exactly(&mut *source, &bench.waker, 4), [7; 4]);
}

#[test]
fn paths_that_cannot_be_read_are_refused_by_name() {
    let bench = Bench::new();
    for path in [bench.path(), bench.folder.path().into()] {
        let Err(error) = open(&path, false, bench.waker.clone()) else {
            panic!("{} was opened", path.display());
        };
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert!(std::error::Error::source(&error).is_some(), "the reason");
    }
}

#[test]
fn a_source_that_is_dropped_closes_its_file_even_while_it_is_asked() {
    let bench = Bench::new();
    let path = bench.fifo();
    let mut source = bench.open(&path, false);
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    drop(source);
    let opened = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let open = opened.filter(|fd| fd.path().read_link().is_ok_and(|target| target == path));
    assert_eq!(open.count(), 0);
}

#[test]
fn a_source_that_is_dropped_while_its_file_fails_ends_at_once() {
    let bench = Bench::new();
    let mut source = bench.open(&bench.file(&[]), false);
    assert_eq!(source.read(&mut [0; 4]), ReadOutcome::Pending);
    let start = std::time::Instant::now();
    drop(source);
    let path = bench.path();
    eventually("the file is closed", || {
        let opened = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        opened.filter(|fd| fd.path().read_link().is_ok_and(|to| to == path)).count() == 0
    });
    assert!(start.elapsed() < Duration::from_secs(5));
}
