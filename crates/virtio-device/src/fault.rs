//! Why a device has to be reset: what a driver can do wrong.

use vfio_user_device::{DmaError, Rejected};

/// A rule of the specification that the driver broke, or memory that its machine took away. The
/// device says so in its status and does nothing more until it is reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Section 2.7: a power of two, and no more than the device has.
    #[error("queue of {0} descriptors; a power of two up to {max} is needed", max = super::MAX_QUEUE_SIZE)]
    QueueSize(u16),
    /// Section 2.7: each part of a queue has its alignment.
    #[error("{part} at {address:#x}, which is not a multiple of {alignment}")]
    Misaligned {
        /// The part of the queue.
        part: &'static str,
        /// Where the driver has put it.
        address: u64,
        /// What the address has to be a multiple of, in bytes.
        alignment: u64,
    },
    /// Section 2.7.13: no more requests than descriptors.
    #[error("available index went from {from} to {to} in a queue of {size}")]
    AvailableIndex {
        /// The index up to which requests have been taken.
        from: u16,
        /// The index that the driver has written.
        to: u16,
        /// Descriptors in the queue.
        size: u16,
    },
    /// Section 2.7.5: a descriptor that the table does not have.
    #[error("descriptor {index} of a table of {size}")]
    NoSuchDescriptor {
        /// The number of the descriptor.
        index: u16,
        /// Descriptors in the table.
        size: u16,
    },
    /// Section 2.7.5.2: a chain has no more descriptors than the queue; a loop would have.
    #[error("chain of more than {0} descriptors, or a loop")]
    ChainTooLong(u16),
    /// Section 2.7.4.2: buffers for the device to read come first.
    #[error("a buffer for the device to read after one for it to write")]
    BufferOrder,
    /// Section 2.7.5.3.1: indirect descriptors need the feature.
    #[error("an indirect descriptor, which was not agreed on")]
    IndirectNotAgreed,
    /// Section 2.7.5.3.1: a table has no tables, and ends its chain.
    #[error("an indirect descriptor within an indirect table, or with a next one")]
    IndirectNested,
    /// Section 2.7.5.3: a table is made of whole descriptors, no more than the queue has.
    #[error("indirect table of {bytes} bytes; 16 for each descriptor, {size} at most")]
    IndirectLength {
        /// Length of the table in bytes.
        bytes: u32,
        /// Descriptors in the queue.
        size: u16,
    },
    /// Section 5.4.6.1: an entropy device has nothing to read.
    #[error("a buffer for the device to read")]
    ReadableBuffer,
    /// A ring or a buffer is not in memory that the device may use, or not any more.
    #[error("{0}")]
    Memory(#[from] DmaError),
}

impl From<Rejected> for Fault {
    fn from(rejected: Rejected) -> Self {
        Fault::Memory(rejected.error)
    }
}
