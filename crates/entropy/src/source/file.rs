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
//!
//! A file or FIFO that has nothing more, and that is not the one at the path any more, is left for
//! that one, which is read from its start.

use std::convert::Infallible;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags, major};
use vfio_user_device::Waker;

use super::mailbox::{CAPACITY, Closed, Mailbox};
use super::non_blocking::NonBlocking;
use super::retry_backoff::RetryBackoff;
use super::worker::Worker;
use super::{Source, SourceError, SourcePosition};

/// Major number of the character devices that the kernel itself answers for.
const MEMORY_DEVICES: u32 = 1;
/// How often to look whether another FIFO is at the path of one without a writer.
const LOOK: Duration = Duration::from_secs(2);
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
        return Ok(Box::new(NonBlocking::new(path.display(), read)));
    }
    if repeat && !matches!(opened.kind, Kind::Seekable) {
        log::warn!("--file-loop: {} has no beginning to go back to", path.display());
    }
    let reader = Reader {
        path: path.into(),
        repeat,
        opened: Some(opened),
        position: 0,
        read: None,
        said_ready: false,
        backoff: RetryBackoff::new(path.display()),
    };
    let worker = Worker::start(waker, |mailbox| reader.run(mailbox));
    Ok(Box::new(worker.map_err(SourceError::Worker)?))
}

/// An open file, and what has to be known to read it.
struct Opened {
    file: File,
    kind: Kind,
    /// Device and inode.
    identity: (u64, u64),
}

/// How a file is read.
enum Kind {
    /// At once: a read does not block.
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
        Ok(Opened { file, kind, identity: identity(&status) })
    }

    /// Whether another file has taken this one's place at the path.
    fn was_replaced(&self, path: &Path) -> bool {
        path.metadata().is_ok_and(|status| identity(&status) != self.identity)
    }
}

fn identity(status: &Metadata) -> (u64, u64) {
    (status.dev(), status.ino())
}

/// What the worker has.
struct Reader {
    path: PathBuf,
    repeat: bool,
    /// Nothing after an error, until it could be opened anew.
    opened: Option<Opened>,
    /// How far a seekable file was read, and which one.
    position: u64,
    read: Option<(u64, u64)>,
    /// Whether poll(2) said that there is something to read.
    said_ready: bool,
    backoff: RetryBackoff,
}

impl Reader {
    fn run(mut self, mailbox: &Mailbox) -> Result<Infallible, Closed> {
        let mut buffer = vec![0; CAPACITY];
        loop {
            let asked = mailbox.next_request()?.min(buffer.len());
            if let Some(position) = mailbox.take_go_on() {
                self.go_on_from(position);
            }
            match self.read(&mut buffer[..asked]) {
                Ok(0) if self.leave_replaced() => {}
                Ok(0) => {
                    let reason = self.end();
                    mailbox.pause(self.backoff.failed(reason))?;
                }
                Ok(count) => {
                    self.said_ready = false;
                    self.backoff.succeeded();
                    mailbox.deliver_to(self.place(), &buffer[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.until_ready(mailbox)?;
                }
                Err(error) => {
                    self.opened = None;
                    mailbox.pause(self.backoff.failed(error))?;
                }
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let opened = match &mut self.opened {
            Some(opened) => opened,
            none => none.insert(Opened::new(&self.path)?),
        };
        if self.read.replace(opened.identity).is_some_and(|before| before != opened.identity) {
            self.position = 0;
        }
        if !matches!(opened.kind, Kind::Seekable) {
            return opened.file.read(buffer);
        }
        let mut count = opened.file.read_at(buffer, self.position)?;
        if count == 0 && self.repeat && !opened.was_replaced(&self.path) {
            self.position = 0;
            count = opened.file.read_at(buffer, 0)?;
        }
        // No file is longer than 2⁶³ bytes.
        self.position += count as u64;
        Ok(count)
    }

    /// Goes on in a file where another process has ended to read it.
    fn go_on_from(&mut self, position: SourcePosition) {
        let SourcePosition::File { device, inode, offset } = position else { return };
        let same = |opened: &Opened| opened.identity == (device, inode);
        if self.opened.as_ref().is_some_and(same) {
            self.position = offset;
        }
    }

    /// How far a file was read that has places.
    fn place(&self) -> Option<SourcePosition> {
        let opened = self.opened.as_ref()?;
        let (device, inode) = opened.identity;
        let seekable = matches!(opened.kind, Kind::Seekable);
        seekable.then_some(SourcePosition::File { device, inode, offset: self.position })
    }

    /// Leaves a file that has ended for another one that is at its path now. Returns whether there is
    /// one.
    fn leave_replaced(&mut self) -> bool {
        let replaced = self.opened.as_ref().is_some_and(|opened| opened.was_replaced(&self.path));
        if replaced {
            log::info!("{}: there is another file now", self.path.display());
            self.opened = None;
        }
        replaced
    }

    /// The file has ended. Returns what that means, in words.
    fn end(&mut self) -> &'static str {
        match self.opened.as_ref().map(|opened| &opened.kind) {
            Some(Kind::Seekable) if self.repeat => "it is empty",
            Some(Kind::Seekable) => {
                "it has ended, and may grow; --file-loop would read it again from its start"
            }
            Some(Kind::Fifo { .. }) => "no process writes to it",
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
                // Once a second has passed, it is known that there is nothing.
                let ready = match self.backoff.warn_timeout() {
                    Some(_) => mailbox.wait_for_answer(input, &mut self.backoff)?,
                    None => mailbox.wait(Some(input), Some(LOOK))?,
                };
                self.said_ready = !ready.is_empty();
                if ready.is_empty() {
                    self.leave_replaced();
                }
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
mod tests;
