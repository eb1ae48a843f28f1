//! Bytes from a path: a file, a FIFO, a device.
//!
//! The memory devices (/dev/urandom, /dev/zero: character devices of major number 1) answer at
//! once. A read of anything else can take any time, so a [`Worker`] does it:
//!
//! - A regular file or a block device is read in its order. When it has ended, it is read again
//!   from its start, or requests wait until it has grown.
//! - A FIFO is held open for writing too, if that is allowed, so that it does not end when a
//!   writer closes it: the next one may come at any time, and its bytes at once. Where it is not
//!   allowed, it is looked at again from time to time while it has no writer.
//! - Other character devices (a hardware generator such as /dev/hwrng, a terminal) are opened
//!   anew after they failed or ended.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, major};
use vfio_user_kit::Waker;

use super::immediate::Immediate;
use super::mailbox::{CAPACITY, Closed, Mailbox};
use super::trouble::Trouble;
use super::worker::Worker;
use super::{Source, SourceError};

/// Major number of the character devices that the kernel itself answers for.
const MEMORY_DEVICES: u32 = 1;
/// How long to leave a file alone that is ready by poll(2) and has nothing to read, as /dev/hwrng
/// is while the hardware has nothing.
const BRIEFLY: Duration = Duration::from_millis(10);

/// The source that is at this path.
///
/// # Errors
/// The path cannot be opened or is a directory, or the worker cannot be started.
pub(super) fn open(
    path: &Path,
    repeat: bool,
    waker: Waker,
) -> Result<Box<dyn Source>, SourceError> {
    let opened =
        Opened::new(path).map_err(|source| SourceError::Open { path: path.into(), source })?;
    if let Kind::MemoryDevice = opened.kind {
        let file = opened.file;
        let read = move |buffer: &mut [u8]| rustix::io::read(&file, buffer);
        return Ok(Box::new(Immediate::new(path.display(), read)));
    }
    if repeat && !matches!(opened.kind, Kind::Seekable) {
        log::warn!("--file-loop: {} has no beginning to go back to", path.display());
    }
    let reader = Reader {
        path: path.into(),
        repeat,
        opened: Some(opened),
        position: 0,
        said_ready: false,
        trouble: Trouble::new(path.display()),
    };
    let worker = Worker::start(waker, |mailbox| reader.run(mailbox));
    Ok(Box::new(worker.map_err(SourceError::Worker)?))
}

/// An open file, and what has to be known to read it.
struct Opened {
    file: File,
    kind: Kind,
}

/// How a file is read.
enum Kind {
    /// At once, by whoever wants to.
    MemoryDevice,
    /// At a position, and from the start again if need be.
    Seekable,
    /// As it comes. The writing end is our own, to keep the FIFO from ending.
    Fifo { _writer: Option<OwnedFd> },
    /// As it comes.
    Stream,
}

impl Opened {
    /// Opens the path, whatever it is, without waiting for anything.
    fn new(path: &Path) -> io::Result<Self> {
        let flags = OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let mut file = File::from(rustix::fs::open(path, OFlags::RDONLY | flags, Mode::empty())?);
        let status = file.metadata()?;
        let file_type = status.file_type();
        let kind = if file_type.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        } else if file_type.is_char_device() && major(status.rdev()) == MEMORY_DEVICES {
            Kind::MemoryDevice
        } else if file_type.is_fifo() {
            let writer = rustix::fs::open(path, OFlags::WRONLY | flags, Mode::empty());
            Kind::Fifo { _writer: writer.ok() }
        } else if !file_type.is_char_device() && file.stream_position().is_ok() {
            Kind::Seekable
        } else {
            Kind::Stream
        };
        Ok(Opened { file, kind })
    }
}

/// What the worker has.
struct Reader {
    path: PathBuf,
    repeat: bool,
    /// Nothing after an error, until it could be opened anew.
    opened: Option<Opened>,
    /// How far a seekable file was read.
    position: u64,
    /// Whether poll(2) said that there is something to read.
    said_ready: bool,
    trouble: Trouble,
}

impl Reader {
    fn run(mut self, mailbox: &Mailbox) -> Result<Infallible, Closed> {
        let mut buffer = vec![0; CAPACITY];
        loop {
            let asked = mailbox.next_request()?.min(buffer.len());
            match self.read(&mut buffer[..asked]) {
                Ok(0) => {
                    let reason = self.end();
                    mailbox.pause(self.trouble.failed(reason))?;
                }
                Ok(count) => {
                    self.said_ready = false;
                    self.trouble.worked();
                    mailbox.deliver(&buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.until_ready(mailbox)?;
                }
                Err(error) => {
                    self.opened = None;
                    mailbox.pause(self.trouble.failed(error))?;
                }
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let opened = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(Opened::new(&self.path)?),
        };
        if !matches!(opened.kind, Kind::Seekable) {
            return opened.file.read(buffer);
        }
        let mut count = opened.file.read_at(buffer, self.position)?;
        if count == 0 && self.repeat {
            self.position = 0;
            count = opened.file.read_at(buffer, 0)?;
        }
        // No file is longer than 2⁶³ bytes.
        self.position += count as u64;
        Ok(count)
    }

    /// The file has ended. Returns what that means, in words.
    fn end(&mut self) -> &'static str {
        match self.opened.as_ref().map(|opened| &opened.kind) {
            Some(Kind::Seekable) if self.repeat => "it is empty",
            Some(Kind::Seekable) => {
                "it has ended, and may grow; --file-loop would read it again from its start"
            }
            Some(Kind::Fifo { .. }) => "nobody writes to it",
            _ => {
                // A terminal that was hung up stays so until it is opened anew.
                self.opened = None;
                "it has ended"
            }
        }
    }

    /// Waits until a read may have something.
    fn until_ready(&mut self, mailbox: &Mailbox) -> Result<(), Closed> {
        match &self.opened {
            Some(opened) if !self.said_ready => {
                let input = (opened.file.as_fd(), PollFlags::IN);
                let ready = mailbox.wait_for_answer(input, &mut self.trouble)?;
                self.said_ready = !ready.is_empty();
                Ok(())
            }
            _ => {
                self.said_ready = false;
                mailbox.pause(BRIEFLY)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use rustix::fs::{CWD, mkfifoat};
    use rustix::io::Errno;
    use rustix::pty::{OpenptFlags, openpt, ptsname, unlockpt};

    use super::*;
    use crate::source::Drawn;
    use crate::source::testing::{
        DEADLINE, draw, draw_exactly, eventually, numbered, woken_within,
    };

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
        let mut read = draw_exactly(&mut *source, &bench.waker, 10);
        read.extend(draw_exactly(&mut *source, &bench.waker, bytes.len() - 10));
        assert!(read == bytes);
    }

    #[test]
    fn a_file_of_zeros_is_as_good_as_any() {
        let bench = Bench::new();
        let mut source = bench.open(&bench.file(&[0; 1000]), false);
        assert_eq!(draw_exactly(&mut *source, &bench.waker, 1000), [0; 1000]);
    }

    #[test]
    fn requests_wait_at_the_end_of_a_file_until_it_grows() {
        let bench = Bench::new();
        let mut source = bench.open(&bench.file(&[1, 2, 3]), false);
        assert_eq!(draw(&mut *source, &bench.waker, 10), [1, 2, 3]);
        assert_eq!(source.draw(&mut [0; 10]), Drawn::WhenWoken);
        assert!(!woken_within(&bench.waker, Duration::from_millis(50)));
        bench.append(&[4, 5]);
        assert_eq!(draw(&mut *source, &bench.waker, 10), [4, 5]);
    }

    #[test]
    fn a_repeated_file_starts_again_and_skips_nothing() {
        let bench = Bench::new();
        let bytes = numbered(1000);
        let mut source = bench.open(&bench.file(&bytes), true);
        let read = draw_exactly(&mut *source, &bench.waker, 3500);
        assert!(read.iter().eq(bytes.iter().cycle().take(3500)));
    }

    #[test]
    fn an_empty_file_that_is_repeated_waits_too() {
        let bench = Bench::new();
        let mut source = bench.open(&bench.file(&[]), true);
        assert_eq!(source.draw(&mut [0; 10]), Drawn::WhenWoken);
        assert!(!woken_within(&bench.waker, Duration::from_millis(50)));
        bench.append(&[7]);
        assert_eq!(draw_exactly(&mut *source, &bench.waker, 3), [7, 7, 7]);
    }

    #[test]
    fn a_fifo_gives_what_was_asked_for_and_no_more() {
        let bench = Bench::new();
        let path = bench.fifo();
        let mut source = bench.open(&path, false);
        let mut writer = writer(&path);
        writer.write_all(&numbered(100)).unwrap();
        assert!(!woken_within(&bench.waker, Duration::from_millis(20)), "nobody has asked");
        assert_eq!(rustix::io::ioctl_fionread(&writer).unwrap(), 100);
        assert_eq!(draw(&mut *source, &bench.waker, 10), numbered(100)[..10]);
        assert_eq!(rustix::io::ioctl_fionread(&writer).unwrap(), 90);
        assert_eq!(draw(&mut *source, &bench.waker, 1000), numbered(100)[10..], "a short read");
    }

    #[test]
    fn writers_of_a_fifo_come_and_go() {
        let bench = Bench::new();
        let path = bench.fifo();
        assert!(matches!(Opened::new(&path).unwrap().kind, Kind::Fifo { _writer: Some(_) }));
        let mut source = bench.open(&path, false);
        for number in 0..5 {
            assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
            writer(&path).write_all(&[number; 4]).unwrap();
            assert_eq!(draw_exactly(&mut *source, &bench.waker, 4), [number; 4]);
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
            said_ready: false,
            trouble: Trouble::new("test"),
        };
        let waker = bench.waker.clone();
        let mut source = Worker::start(waker, |mailbox| reader.run(mailbox)).unwrap();
        for number in 0..3 {
            assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
            assert!(!woken_within(&bench.waker, Duration::from_millis(20)));
            writer(&path).write_all(&[number; 4]).unwrap();
            assert_eq!(draw_exactly(&mut source, &bench.waker, 4), [number; 4]);
        }
    }

    #[test]
    fn bytes_for_a_request_that_was_forgotten_are_the_next_ones() {
        let bench = Bench::new();
        let mut source = bench.open(&bench.file(&numbered(100)), false);
        assert_eq!(source.draw(&mut [0; 60]), Drawn::WhenWoken);
        assert!(woken_within(&bench.waker, DEADLINE));
        assert_eq!(draw_exactly(&mut *source, &bench.waker, 100), numbered(100));
    }

    #[test]
    fn memory_devices_answer_at_once() {
        let bench = Bench::new();
        let mut buffer = [1; 100];
        assert_eq!(bench.open(Path::new("/dev/zero"), false).draw(&mut buffer), Drawn::Bytes(100));
        assert_eq!(buffer, [0; 100]);
        let drawn = bench.open(Path::new("/dev/urandom"), false).draw(&mut buffer);
        assert_eq!(drawn, Drawn::Bytes(100));
        assert_ne!(buffer, [0; 100]);
        let drawn = bench.open(Path::new("/dev/null"), false).draw(&mut buffer);
        assert_eq!(drawn, Drawn::After(Duration::from_millis(10)));
    }

    #[test]
    fn a_terminal_is_read_as_it_is_typed() {
        let bench = Bench::new();
        let (terminal, name) = terminal();
        let mut source = bench.open(Path::new(&name), false);
        assert_eq!(source.draw(&mut [0; 10]), Drawn::WhenWoken);
        rustix::io::write(&terminal, b"ab\n").unwrap();
        assert_eq!(draw(&mut *source, &bench.waker, 10), b"ab\n");
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
        assert_eq!(source.draw(&mut [0; 10]), Drawn::WhenWoken);
        let (second, name) = terminal();
        link(&name);
        rustix::io::write(&second, b"cd\n").unwrap();
        drop(first);
        assert_eq!(draw(&mut *source, &bench.waker, 10), b"cd\n");
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
            said_ready: false,
            trouble: Trouble::new("test"),
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
        assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
        drop(source);
        let opened = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let open = opened.filter(|fd| fd.path().read_link().is_ok_and(|target| target == path));
        assert_eq!(open.count(), 0);
    }

    #[test]
    fn a_source_that_is_dropped_while_its_file_fails_ends_at_once() {
        let bench = Bench::new();
        let mut source = bench.open(&bench.file(&[]), false);
        assert_eq!(source.draw(&mut [0; 4]), Drawn::WhenWoken);
        let start = std::time::Instant::now();
        drop(source);
        let path = bench.path();
        eventually("the file is closed", || {
            let opened = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
            opened.filter(|fd| fd.path().read_link().is_ok_and(|to| to == path)).count() == 0
        });
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
