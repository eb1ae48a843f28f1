//! Guest memory of rust-vmm for the tests: every access to it has ended when it returns.

use std::future::{Future, ready as at_once};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use mock_vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use vfio_user_device::{DmaError, GuestMemory, Segment};

/// Memory that a queue reaches.
pub struct ReadyMemory<'m>(pub &'m GuestMemoryMmap<()>);

impl ReadyMemory<'_> {
    /// Does something with each segment and its bytes.
    fn each<B>(
        segments: &[Segment],
        mut bytes: B,
        mut access: impl FnMut(B, GuestAddress, usize) -> Option<B>,
    ) -> Result<(), DmaError> {
        for Segment { address, length } in segments {
            let rest = access(bytes, GuestAddress(*address), *length);
            bytes = rest.ok_or(DmaError::NotMapped { address: *address })?;
        }
        Ok(())
    }
}

impl GuestMemory for ReadyMemory<'_> {
    fn gather(
        &self,
        segments: &[Segment],
        buffer: &mut [u8],
    ) -> impl Future<Output = Result<(), DmaError>> + Send {
        at_once(Self::each(segments, buffer, |buffer, address, length| {
            let (piece, rest) = buffer.split_at_mut(length);
            self.0.read_slice(piece, address).ok().map(|()| rest)
        }))
    }

    fn scatter(
        &self,
        segments: &[Segment],
        data: &[u8],
    ) -> impl Future<Output = Result<(), DmaError>> + Send {
        at_once(Self::each(segments, data, |data, address, length| {
            let (piece, rest) = data.split_at(length);
            self.0.write_slice(piece, address).ok().map(|()| rest)
        }))
    }
}

/// What a future comes to that never waits.
pub fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("it waits for something"),
    }
}
