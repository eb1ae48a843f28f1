//! Takes a recording apart. A file can be cut off anywhere, and can come from anywhere: what makes no
//! sense ends the reading, and what was read until then counts.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use zerocopy::FromBytes;

use super::events::{Event, Interrupt, InterruptKind, MemoryAccess, Message, Recorded};
use super::format::{
    ALIGNMENT, FileHead, InterruptBody, Kind, MAGIC, MAX_KEPT, MAX_RECORD, MemoryBody, MessageBody,
    RecordHead, VERSION,
};
use crate::pci::irq_index::IrqIndex;

/// What is in a recording.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// The time of day at its beginning, in nanoseconds since 1970.
    pub time_of_day: u64,
    /// The monotonic clock at its beginning, in nanoseconds: [`now`](super::now) at that moment.
    pub monotonic: u64,
    /// The records, in the order of their times.
    pub events: Vec<Recorded>,
    /// Why the file ends in the middle of a record, if it does.
    pub damage: Option<String>,
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("cannot read the recording")]
    Io(#[from] io::Error),
    /// It is something else.
    #[error("no recording: it does not begin as one; --record of a server makes them")]
    NotARecording,
    /// It has another layout.
    #[error("the recording has version {found}, and this program reads version {VERSION}")]
    Version {
        /// The file's.
        found: u16,
    },
}

/// Reads a recording.
///
/// # Errors
/// The file cannot be read, or is none.
pub fn read(path: &Path) -> Result<File, ReadError> {
    File::from_bytes(&std::fs::read(path)?)
}

/// Checks that a file is a recording that this program can add to.
pub(super) fn check_head(path: &Path) -> io::Result<()> {
    let mut head = Vec::new();
    let limit = size_of::<FileHead>() as u64;
    io::Read::read_to_end(&mut io::Read::take(std::fs::File::open(path)?, limit), &mut head)?;
    file_head(&head).map(drop).map_err(io::Error::other)
}

fn file_head(bytes: &[u8]) -> Result<(FileHead, usize), ReadError> {
    let (head, _) = FileHead::read_from_prefix(bytes).map_err(|_| ReadError::NotARecording)?;
    if head.magic != MAGIC {
        return Err(ReadError::NotARecording);
    }
    if head.version.get() != VERSION {
        return Err(ReadError::Version { found: head.version.get() });
    }
    Ok((head, usize::from(head.size.get()).max(size_of::<FileHead>())))
}

impl File {
    /// Takes the bytes of a recording apart.
    ///
    /// # Errors
    /// They are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let (head, begin) = file_head(bytes)?;
        let (time_of_day, monotonic) = (head.time_of_day.get(), head.monotonic.get());
        let mut file = File { time_of_day, monotonic, ..File::default() };
        let mut sessions = HashMap::new();
        let mut rest = bytes.get(begin..).unwrap_or_default();
        while !rest.is_empty() {
            let Some((head, body, tail)) = next(rest) else {
                let at = bytes.len() - rest.len();
                file.damage = Some(format!("it ends in the middle of the record at byte {at}"));
                break;
            };
            rest = tail;
            let Some(event) = event(&head, body) else { continue };
            let session = match (head.session.get(), sessions.len()) {
                (0, _) => 0,
                (number, known) => {
                    *sessions.entry(number).or_insert(u32::try_from(known + 1).unwrap_or(u32::MAX))
                }
            };
            let time = head.time.get().saturating_sub(monotonic);
            file.events.push(Recorded { time, session, event });
        }
        // A command is written when it is answered, behind what it has caused.
        file.events.sort_by_key(|event| event.time);
        Ok(file)
    }

    /// The numbers of the sessions.
    pub fn sessions(&self) -> u32 {
        self.events.iter().map(|event| event.session).max().unwrap_or(0)
    }

    /// The records between two moments, as a recording of its own: those of the sessions that were
    /// there then begin with their beginnings, whenever those were. The moments are
    /// [`now`](super::now)'s.
    ///
    /// # Errors
    /// The bytes are no recording.
    pub fn cut(bytes: &[u8], from: u64, to: u64) -> Result<Vec<u8>, ReadError> {
        let (_, begin) = file_head(bytes)?;
        let mut begun: HashMap<u32, &[u8]> = HashMap::new();
        // All of the head: a later version's may be longer, and says so.
        let mut cut = bytes.get(..begin).unwrap_or(bytes).to_vec();
        let mut rest = bytes.get(begin..).unwrap_or_default();
        while let Some((head, _, tail)) = next(rest) {
            let record = rest.get(..rest.len() - tail.len()).unwrap_or_default();
            rest = tail;
            if Kind::from_number(head.kind.get()) == Some(Kind::Begin) && head.time.get() < from {
                begun.insert(head.session.get(), record);
            } else if (from..=to).contains(&head.time.get()) {
                if let Some(first) = begun.remove(&head.session.get()) {
                    cut.extend_from_slice(first);
                }
                cut.extend_from_slice(record);
            }
        }
        Ok(cut)
    }
}

/// The first record of some bytes, and what is behind it.
fn next(bytes: &[u8]) -> Option<(RecordHead, &[u8], &[u8])> {
    let (head, _) = RecordHead::read_from_prefix(bytes).ok()?;
    let (length, size) = (head.length.get() as usize, head.size.get() as usize);
    let begin = size_of::<RecordHead>();
    let possible =
        length <= MAX_RECORD && length % ALIGNMENT == 0 && begin.checked_add(size)? <= length;
    let (record, tail) = bytes.split_at_checked(length).filter(|_| possible)?;
    Some((head, record.get(begin..begin + size)?, tail))
}

/// The events of whole records.
pub(super) fn records(bytes: &[u8]) -> Vec<Event> {
    let mut rest = bytes;
    let mut events = Vec::new();
    while let Some((head, body, tail)) = next(rest) {
        events.extend(event(&head, body));
        rest = tail;
    }
    events
}

/// What a record tells; nothing, if it is of a kind that is not known, or makes no sense.
fn event(head: &RecordHead, body: &[u8]) -> Option<Event> {
    let detail = head.detail.get();
    let text = || String::from_utf8_lossy(body).into_owned();
    Some(match Kind::from_number(head.kind.get())? {
        Kind::Begin => Event::Begin(Box::new(serde_json::from_slice(body).unwrap_or_default())),
        Kind::End => Event::End(text()),
        Kind::Message => Event::Message(message(body)?),
        Kind::Memory => Event::Memory(memory(body, detail == 1)?),
        Kind::Interrupt => Event::Interrupt(interrupt(body, detail)?),
        Kind::Timer => {
            let number = u32::from_le_bytes(body.try_into().ok()?);
            Event::Timer((detail == 0).then_some(number))
        }
        Kind::Wake => Event::Wake,
        Kind::Dropped => Event::Dropped(u64::from_le_bytes(body.try_into().ok()?)),
        Kind::Stopped => Event::Stopped(text()),
    })
}

fn message(body: &[u8]) -> Option<Message> {
    let (head, rest) = MessageBody::read_from_prefix(body).ok()?;
    let (payload, rest) = rest.split_at_checked(head.command_kept.get() as usize)?;
    let answer = rest.get(..head.reply_kept.get() as usize)?;
    let reply = (head.reply != [0; 16]).then(|| (head.reply, answer.to_vec()));
    Some(Message {
        command: head.command,
        payload: payload.to_vec(),
        fds: head.fds.get(),
        reply,
        duration: head.duration.get(),
    })
}

fn memory(body: &[u8], is_write: bool) -> Option<MemoryAccess> {
    let (head, data) = MemoryBody::read_from_prefix(body).ok()?;
    Some(MemoryAccess {
        is_write,
        address: head.address.get(),
        count: head.count.get(),
        data: data.get(..MAX_KEPT).unwrap_or(data).to_vec(),
        message: (head.by_message.get() != 0).then_some(head.id.get()),
        error: head.error.get(),
    })
}

fn interrupt(body: &[u8], index: u16) -> Option<Interrupt> {
    let (head, _) = InterruptBody::read_from_prefix(body).ok()?;
    let kind = match IrqIndex::from_wire(index.into()) {
        Some(IrqIndex::Intx) => InterruptKind::Intx,
        Some(IrqIndex::Msi) => InterruptKind::Msi,
        Some(IrqIndex::Msix) => InterruptKind::Msix,
        _ => InterruptKind::Other(index),
    };
    let level = match head.state.get() {
        1 => Some(true),
        2 => Some(false),
        _ => None,
    };
    Some(Interrupt { kind, vector: head.vector.get(), level })
}
