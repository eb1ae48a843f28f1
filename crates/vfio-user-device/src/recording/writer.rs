//! The thread that writes the rings of all sessions to the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rtrb::{Consumer, RingBuffer};
use zerocopy::{FromBytes, IntoBytes};

use super::events::SessionInfo;
use super::format::{FileHead, Kind, MAGIC, RecordHead, VERSION};
use super::recorder::{Recorder, head};
use super::{now, read};

/// Bytes of a session's ring: some thousand register accesses.
const RING_LEN: usize = 512 << 10;
/// How often the rings are looked at while a client is connected.
const INTERVAL: Duration = Duration::from_millis(20);
/// Stack of the thread.
const STACK_LEN: usize = 256 << 10;
/// What is kept free for the record that says why there are no more.
const FAREWELL_LEN: u64 = 256;
/// A process numbers its sessions from its own number on, so that two that write to one file differ.
const SESSIONS_BITS: u32 = 12;

/// A file that sessions are recorded to. Clones are the same file.
#[derive(Clone, Debug)]
pub struct Recording(Arc<Writer>);

/// A recording that is being written.
#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    wake: Thread,
}

/// What sessions and the thread share.
#[derive(Debug)]
struct Shared {
    /// Sessions that the thread has not seen yet: their first records, and their rings.
    begun: Mutex<Vec<(Vec<u8>, Consumer<u8>)>>,
    /// Nothing is written any more.
    ended: AtomicBool,
    /// The thread is to write what there is, and end.
    closing: AtomicBool,
    sessions: AtomicU32,
}

/// The file, as far as it is written.
struct Output {
    path: PathBuf,
    file: File,
    length: u64,
    limit: u64,
}

impl Recording {
    /// Begins a file, in place of what is there. It gets no longer than `limit` bytes: when it is full, the
    /// recording ends and the program goes on. Others than the owner cannot read it: it has what the
    /// guest was given.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, limit: u64) -> io::Result<Self> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // A process that takes this one's place writes to it, too.
        let file = OpenOptions::new().append(true).open(path)?;
        let mut output = Output { path: path.to_owned(), file, length: 0, limit };
        let time_of_day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = FileHead {
            magic: MAGIC,
            version: VERSION.into(),
            size: u16::try_from(size_of::<FileHead>()).unwrap_or(0).into(),
            reserved: 0.into(),
            time_of_day: u64::try_from(time_of_day.as_nanos()).unwrap_or(0).into(),
            monotonic: now().into(),
        };
        output.write(head.as_bytes())?;
        Recording::start(output)
    }

    /// Goes on with the file of another process, whose place this one takes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(path: &Path, limit: u64) -> io::Result<Self> {
        if !path.exists() {
            return Recording::create(path, limit);
        }
        read::check_head(path)?;
        let file = OpenOptions::new().append(true).open(path)?;
        let length = file.metadata()?.len();
        Recording::start(Output { path: path.to_owned(), file, length, limit })
    }

    /// Writes to a file that is open.
    #[cfg(test)]
    pub(super) fn on(file: File, limit: u64) -> io::Result<Self> {
        Recording::start(Output { path: "test".into(), file, length: 0, limit })
    }

    fn start(output: Output) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            begun: Mutex::default(),
            ended: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            sessions: AtomicU32::new(std::process::id() << SESSIONS_BITS),
        });
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("recording".into()).stack_size(STACK_LEN);
        let thread = thread.spawn(move || of_thread.run(output))?;
        let wake = thread.thread().clone();
        Ok(Recording(Arc::new(Writer { shared, thread: Mutex::new(Some(thread)), wake })))
    }

    /// Begins the records of one client.
    pub(crate) fn begin(&self, info: &SessionInfo) -> Recorder {
        if self.0.shared.ended.load(Ordering::Relaxed) {
            return Recorder::default();
        }
        let session = self.0.shared.sessions.fetch_add(1, Ordering::Relaxed);
        let text = serde_json::to_vec(info).unwrap_or_default();
        let first = record(session, Kind::Begin, &text);
        let (producer, consumer) = RingBuffer::new(RING_LEN);
        lock(&self.0.shared.begun).push((first, consumer));
        self.0.wake.unpark();
        Recorder::new(producer, session, Some(self.0.wake.clone()))
    }

    /// Writes what has been recorded so far, and ends the recording.
    pub fn finish(&self) {
        self.0.finish();
    }
}

impl Writer {
    /// Writes what there is, and ends.
    fn finish(&self) {
        self.shared.closing.store(true, Ordering::Release);
        self.wake.unpark();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!("a bug of the kit ended the recording");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Shared {
    /// The life of the thread.
    fn run(&self, mut output: Output) {
        let mut rings: Vec<Consumer<u8>> = Vec::new();
        let mut bytes = Vec::new();
        loop {
            // Before the rings are looked at: what was recorded until then is written.
            let closing = self.closing.load(Ordering::Acquire);
            for (first, ring) in lock(&self.begun).drain(..) {
                bytes.extend_from_slice(&first);
                rings.push(ring);
            }
            rings.retain_mut(|ring| {
                // A session that has ended puts nothing into it after this.
                let over = ring.is_abandoned();
                drain(ring, &mut bytes);
                !over
            });
            if let Err(reason) = output.write_records(&bytes) {
                self.ended.store(true, Ordering::Relaxed);
                log::warn!("the recording {} has ended: {reason}", output.path.display());
                return lock(&self.begun).clear();
            }
            bytes.clear();
            if closing {
                self.ended.store(true, Ordering::Relaxed);
                return;
            }
            if rings.is_empty() {
                thread::park();
            } else {
                thread::park_timeout(INTERVAL);
            }
        }
    }
}

/// Takes all that is in a ring: whole records.
pub(super) fn drain(ring: &mut Consumer<u8>, bytes: &mut Vec<u8>) {
    if let Ok(chunk) = ring.read_chunk(ring.slots()) {
        let (first, second) = chunk.as_slices();
        bytes.extend_from_slice(first);
        bytes.extend_from_slice(second);
        chunk.commit_all();
    }
}

impl Output {
    /// Writes records as far as the limit allows, and says why it takes no more.
    fn write_records(&mut self, records: &[u8]) -> Result<(), String> {
        let room = self.limit.saturating_sub(self.length.saturating_add(FAREWELL_LEN));
        let fitting = fitting(records, usize::try_from(room).unwrap_or(usize::MAX));
        let (now_written, rest) = records.split_at(fitting);
        self.write(now_written).map_err(|error| {
            format!("cannot write: {error}; make room, and start the program again to record more")
        })?;
        if rest.is_empty() {
            return Ok(());
        }
        let reason = format!("it has the {} bytes that --record-limit allows", self.limit);
        // The reader does without it.
        let _ = self.write(&record(0, Kind::Stopped, reason.as_bytes()));
        Err(reason)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// A record of text, whole.
fn record(session: u32, kind: Kind, text: &[u8]) -> Vec<u8> {
    let (head, length) = head(now(), session, kind, 0, &[text, &[], &[]]);
    let mut record = [head.as_bytes(), text].concat();
    record.resize(length, 0);
    record
}

/// How many bytes of whole records have room.
fn fitting(records: &[u8], room: usize) -> usize {
    if records.len() <= room {
        return records.len();
    }
    let mut end = 0;
    while let Ok((head, _)) = RecordHead::read_from_prefix(records.get(end..).unwrap_or_default()) {
        let next = end + head.length.get() as usize;
        if next > room {
            break;
        }
        end = next;
    }
    end
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
