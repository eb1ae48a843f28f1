//! The requests in a virtqueue: descriptor chains to be filled with random bytes.
//!
//! Everything in guest memory is the driver's, and the driver may be hostile. A chain that breaks a rule is
//! completed with length 0, and the ones behind it are served all the same. A corrupt ring disables
//! the queue.
//!
//! The chains are read by the same code as those of a virtio-rng over vfio-user: the memory that
//! rust-vmm has mapped stands behind its trait, and never waits.

use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use vfio_user_device::{DmaError, GuestMemory, Segment};
use virtio_device::{ChainReader, DescriptorChain, Fault, Features};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, Permissions};

use entropy::service::{Entropy, TakeOutcome};

/// Requests that are answered in one go: a driver that makes new ones all the time must not keep
/// the thread from looking at anything else.
const MAX_AT_ONCE: usize = 256;

/// When to look at the queue again.
#[derive(Debug, PartialEq, Eq)]
pub enum Again {
    /// When the driver kicks, which it has to be asked for: the queue is empty.
    WhenKicked,
    /// When the source's waker is used: a request waits.
    WhenWoken,
    /// After this time: a request waits, or there are very many.
    After(Duration),
    /// Never, until the queue is set up again: the ring is corrupt.
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

/// Answers the requests in a queue, as far as there are bytes for them. The name is the guest's, for the
/// log.
pub fn serve(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    entropy: &mut Entropy,
    name: &str,
) -> Served {
    let mut answered = 0;
    let again = match serve_all(queue, memory, entropy, name, &mut answered) {
        Ok(again) => again,
        Err(error) => {
            log::warn!("{name}: the queue is disabled until the driver sets it up again: {error}");
            Again::Never
        }
    };
    Served { answered, again }
}

fn serve_all(
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    entropy: &mut Entropy,
    name: &str,
    answered: &mut usize,
) -> Result<Again, virtio_queue::Error> {
    // Else the iterator would write a line to the log for each kick.
    if !readable(memory, GuestAddress(queue.avail_ring()), queue.size()) {
        return Err(virtio_queue::Error::InvalidAvailRingIndex);
    }
    let mut reader = Reader::new(queue);
    for _ in 0..MAX_AT_ONCE {
        let Some(chain) = queue.iter(memory)?.next() else {
            return Ok(Again::WhenKicked);
        };
        let head = chain.head_index();
        let written = match reader.read(queue, memory, head) {
            Ok(chain) => match take(entropy, chain) {
                TakeOutcome::Bytes(bytes) => {
                    let written = fill(memory, chain, &bytes);
                    entropy.reuse(bytes);
                    written
                }
                wait => {
                    queue.go_to_previous_position();
                    return Ok(match wait {
                        TakeOutcome::RetryAfter(time) => Again::After(time),
                        _ => Again::WhenWoken,
                    });
                }
            },
            Err(fault) => {
                log::warn!("{name}: a request of the driver is rejected: {fault}");
                if head >= queue.size() {
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
    let length = 4 + 2 * usize::from(size);
    vm_memory::GuestMemory::check_range(memory, ring, length, Permissions::Read)
}

/// Reads the chains of a queue.
struct Reader {
    reader: ChainReader,
    /// A copy of the descriptor table.
    table: Vec<u8>,
    chain: DescriptorChain,
}

impl Reader {
    fn new(queue: &Queue) -> Self {
        let size = queue.size();
        // What the VMM hands over has been agreed on, this feature always.
        let reader = ChainReader::new(Features::INDIRECT_DESC, size);
        let table = vec![0; ChainReader::table_len(size)];
        Reader { reader, table, chain: DescriptorChain::default() }
    }

    /// Reads a chain, all of whose buffers are for the device to write.
    fn read(
        &mut self,
        queue: &Queue,
        memory: &GuestMemoryMmap,
        head: u16,
    ) -> Result<&DescriptorChain, Fault> {
        let mapped = Mapped(memory);
        let table = Segment { address: queue.desc_table(), length: self.table.len() };
        at_once(mapped.gather(&[table], &mut self.table))?;
        at_once(self.reader.read(&mapped, &self.table, head, &mut self.chain))?;
        if self.chain.buffers.iter().any(|buffer| !buffer.writable) {
            return Err(Fault::ReadableBuffer);
        }
        // Before bytes are taken for it.
        let outside = self.chain.buffers.iter().find(|buffer| {
            let length = usize::try_from(buffer.length).unwrap_or(usize::MAX);
            let start = GuestAddress(buffer.address);
            !vm_memory::GuestMemory::check_range(memory, start, length, Permissions::Write)
        });
        match outside {
            Some(buffer) => Err(DmaError::NotMapped { address: buffer.address }.into()),
            None => Ok(&self.chain),
        }
    }
}

/// The bytes for a chain.
fn take(entropy: &mut Entropy, chain: &DescriptorChain) -> TakeOutcome {
    match chain.writable_len() {
        0 => TakeOutcome::Bytes(Vec::new()),
        length => entropy.take(Instant::now, length),
    }
}

/// Puts bytes into the buffers of a chain, and returns how many.
fn fill(memory: &GuestMemoryMmap, chain: &DescriptorChain, bytes: &[u8]) -> u32 {
    let places = chain.segments();
    match at_once(Mapped(memory).scatter(&places, bytes)) {
        Ok(()) => u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        // The memory was truncated: nothing is promised.
        Err(_) => 0,
    }
}

/// Memory that is mapped into this process.
struct Mapped<'m>(&'m GuestMemoryMmap);

impl Mapped<'_> {
    /// Goes from place to place, with as many bytes for each as it has room for.
    fn each<B>(
        segments: &[Segment],
        mut bytes: B,
        mut copy: impl FnMut(B, &Segment) -> Option<B>,
    ) -> Result<(), DmaError> {
        for segment in segments {
            bytes = copy(bytes, segment).ok_or(DmaError::NotMapped { address: segment.address })?;
        }
        Ok(())
    }
}

impl GuestMemory for Mapped<'_> {
    fn gather(
        &self,
        segments: &[Segment],
        buffer: &mut [u8],
    ) -> impl Future<Output = Result<(), DmaError>> + Send {
        ready(Self::each(segments, buffer, |buffer, segment| {
            let (piece, rest) = buffer.split_at_mut(segment.length.min(buffer.len()));
            self.0.read_slice(piece, GuestAddress(segment.address)).ok().map(|()| rest)
        }))
    }

    fn scatter(
        &self,
        segments: &[Segment],
        data: &[u8],
    ) -> impl Future<Output = Result<(), DmaError>> + Send {
        ready(Self::each(segments, data, |data, segment| {
            let (piece, rest) = data.split_at(segment.length.min(data.len()));
            self.0.write_slice(piece, GuestAddress(segment.address)).ok().map(|()| rest)
        }))
    }
}

/// What a future over such memory comes to.
fn at_once<T>(future: impl Future<Output = Result<T, impl Into<Fault>>>) -> Result<T, Fault> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map_err(Into::into),
        // It never waits.
        Poll::Pending => Err(DmaError::NotMapped { address: 0 }.into()),
    }
}

#[cfg(test)]
mod tests {
    use vfio_user_device::Waker;

    use super::*;
    use entropy::source::Specification;

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
        let mut go = || serve(&mut queue, &memory, &mut entropy, "test");
        let first = Served { answered: MAX_AT_ONCE, again: Again::After(Duration::ZERO) };
        assert_eq!(go(), first);
        assert_eq!(go().answered, usize::from(SIZE) - MAX_AT_ONCE);
        assert_eq!(go(), Served { answered: 0, again: Again::WhenKicked });
    }
}
