//! The requests in a virtqueue: chains of descriptors to be filled with random bytes.
//!
//! Everything in guest memory is the driver's, who may be hostile. A chain that breaks a rule is
//! answered with 0 bytes, and the ones behind it are served all the same. A ring that makes no sense
//! at all is left alone.

use std::fmt;
use std::time::{Duration, Instant};

use virtio_queue::desc::split::Descriptor;
use virtio_queue::{DescriptorChain, Queue, QueueOwnedT, QueueT};
use vm_memory::{Address, Bytes, GuestAddress, GuestMemory, GuestMemoryMmap, Permissions};

use super::log::DriverLog;
use crate::entropy::{Entropy, Supply};

/// Requests that are answered in one go: a driver that makes new ones all the time must not keep
/// the thread from looking at anything else.
const MAX_AT_ONCE: usize = 256;

/// A rule that a chain breaks.
#[derive(Debug, PartialEq, Eq)]
enum Fault {
    /// The available ring names a descriptor that there is none.
    NoSuchDescriptor(u16),
    /// A descriptor cannot be read, or the next one does not exist.
    Broken,
    /// More descriptors than the queue has.
    TooLong,
    /// A buffer that is for the device to read.
    Readable,
    /// Room for no bytes.
    Empty,
    /// A buffer is not in guest memory.
    Outside(u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NoSuchDescriptor(index) => write!(f, "there is no descriptor {index}"),
            Fault::Broken => write!(f, "the chain has no end"),
            Fault::TooLong => write!(f, "the chain is longer than the queue"),
            Fault::Readable => write!(f, "a buffer is for the device to read"),
            Fault::Empty => write!(f, "there is room for no bytes"),
            Fault::Outside(address) => write!(f, "no guest memory at {address:#x}"),
        }
    }
}

/// When to look at the queue again.
#[derive(Debug, PartialEq, Eq)]
pub enum Again {
    /// When the driver kicks, which it has to be asked for: the queue is empty.
    WhenKicked,
    /// When the source's waker is used: a request waits.
    WhenWoken,
    /// After this time: a request waits, or there are very many.
    After(Duration),
    /// Never, until the queue is set up again: it makes no sense.
    Never,
}

/// What looking at the queue has come to.
#[derive(Debug, PartialEq, Eq)]
pub struct Served {
    /// How many chains were given back to the driver.
    pub answered: usize,
    /// When to go on.
    pub again: Again,
}

/// Answers the requests in a queue, as far as there are bytes for them.
pub fn serve(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    entropy: &mut Entropy,
    log: &DriverLog,
) -> Served {
    let mut answered = 0;
    let again = match serve_all(queue, memory, entropy, log, &mut answered) {
        Ok(again) => again,
        Err(error) => {
            log.note(&format_args!("its queue is left alone until it is set up again: {error}"));
            Again::Never
        }
    };
    Served { answered, again }
}

fn serve_all(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    entropy: &mut Entropy,
    log: &DriverLog,
    answered: &mut usize,
) -> Result<Again, virtio_queue::Error> {
    // Else the iterator would write a line to the log for each kick.
    if !readable(memory, GuestAddress(queue.avail_ring()), queue.size()) {
        return Err(virtio_queue::Error::InvalidAvailRingIndex);
    }
    for _ in 0..MAX_AT_ONCE {
        let Some(chain) = queue.iter(memory)?.next() else {
            return Ok(Again::WhenKicked);
        };
        let head = chain.head_index();
        let written = match buffers(chain, memory, queue.size()) {
            Ok(buffers) => match entropy.take(Instant::now, room(&buffers)) {
                Supply::Bytes(bytes) => {
                    let written = fill(memory, &buffers, &bytes);
                    entropy.reuse(bytes);
                    written
                }
                wait => {
                    queue.go_to_previous_position();
                    return Ok(match wait {
                        Supply::After(time) => Again::After(time),
                        _ => Again::WhenWoken,
                    });
                }
            },
            Err(fault) => {
                log.note(&format_args!("a request of the driver is refused: {fault}"));
                if matches!(fault, Fault::NoSuchDescriptor(_)) {
                    // It has no name by which it could be given back.
                    continue;
                }
                0
            }
        };
        queue.add_used(memory, head, written)?;
        *answered += 1;
    }
    Ok(Again::After(Duration::ZERO))
}

/// Whether all of an available ring can be read: flags, index, and a number for each descriptor.
fn readable(memory: &GuestMemoryMmap, ring: GuestAddress, size: u16) -> bool {
    GuestMemory::check_range(memory, ring, 4 + 2 * usize::from(size), Permissions::Read)
}

/// The buffers of a chain, all of which are for the device to write.
fn buffers(
    chain: DescriptorChain<&GuestMemoryMmap>,
    memory: &GuestMemoryMmap,
    size: u16,
) -> Result<Vec<Descriptor>, Fault> {
    let head = chain.head_index();
    if head >= size {
        return Err(Fault::NoSuchDescriptor(head));
    }
    // An indirect table may be longer than that, which is not allowed.
    let buffers: Vec<_> = chain.take(usize::from(size) + 1).collect();
    if buffers.len() > usize::from(size) {
        return Err(Fault::TooLong);
    }
    // The iterator ends where it cannot go on, as it does at the end.
    if buffers.last().is_none_or(Descriptor::has_next) {
        return Err(Fault::Broken);
    }
    if !buffers.iter().all(Descriptor::is_write_only) {
        return Err(Fault::Readable);
    }
    if room(&buffers) == 0 {
        return Err(Fault::Empty);
    }
    let outside = buffers.iter().find(|buffer| {
        let length = usize::try_from(buffer.len()).unwrap_or(usize::MAX);
        !GuestMemory::check_range(memory, buffer.addr(), length, Permissions::Write)
    });
    match outside {
        Some(buffer) => Err(Fault::Outside(buffer.addr().raw_value())),
        None => Ok(buffers),
    }
}

fn room(buffers: &[Descriptor]) -> u64 {
    buffers.iter().map(|buffer| u64::from(buffer.len())).sum()
}

/// Puts bytes into buffers, one after the other, and returns how many.
fn fill(memory: &GuestMemoryMmap, buffers: &[Descriptor], bytes: &[u8]) -> u32 {
    let mut rest = bytes;
    for buffer in buffers {
        let length = usize::try_from(buffer.len()).unwrap_or(usize::MAX).min(rest.len());
        let (now, later) = rest.split_at(length);
        if memory.write_slice(now, buffer.addr()).is_err() {
            break;
        }
        rest = later;
    }
    u32::try_from(bytes.len() - rest.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use vfio_user_kit::Waker;

    use super::*;
    use crate::source::Specification;

    /// Descriptors of the queue, and where its parts are.
    const SIZE: u16 = 512;
    const AVAILABLE: u64 = 0x4000;
    const USED: u64 = 0x8000;
    const BUFFER: u64 = 0xc000;

    #[test]
    fn very_many_requests_are_answered_in_several_goes() {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 0x10000)]).unwrap();
        // One buffer of 4 bytes for the device to write, which all requests share.
        memory.write_obj(BUFFER, GuestAddress(0)).unwrap();
        memory.write_obj([4_u32, 2], GuestAddress(8)).unwrap();
        memory.write_obj(SIZE, GuestAddress(AVAILABLE + 2)).unwrap();
        let mut queue = Queue::new(SIZE).unwrap();
        queue.set_avail_ring_address(Some(u32::try_from(AVAILABLE).unwrap()), Some(0));
        queue.set_used_ring_address(Some(u32::try_from(USED).unwrap()), Some(0));
        queue.set_ready(true);
        let waker = Waker::new().unwrap();
        let source = "chacha20:1".parse::<Specification>().unwrap().open(waker.clone()).unwrap();
        let mut entropy = Entropy::new(source, waker, None);
        let log = DriverLog::new("test");
        let mut go = || serve(&mut queue, &memory, &mut entropy, &log);
        let first = Served { answered: MAX_AT_ONCE, again: Again::After(Duration::ZERO) };
        assert_eq!(go(), first);
        assert_eq!(go().answered, usize::from(SIZE) - MAX_AT_ONCE);
        assert_eq!(go(), Served { answered: 0, again: Again::WhenKicked });
    }
}
