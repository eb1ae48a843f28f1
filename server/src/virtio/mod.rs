//! Virtio over PCI: what every virtio device has, whatever it does.
//!
//! A virtio driver finds the device's registers by capabilities in configuration space
//! ([`Transport`]), agrees on features with it, and gives it requests in a ring in guest memory
//! ([`Virtqueue`]). The references are to the specification, "Virtual I/O Device (VIRTIO) Version
//! 1.2"; its words are used as names here.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`Transport`] | registers of both interfaces, status, interrupts |
//! | `layout` | which BAR and offset everything has, the capabilities that say so |
//! | [`Virtqueue`] | requests in guest memory, one at a time: split and packed queues |
//! | `chain` | descriptor chains, indirect ones too |
//! | [`Fault`] | every rule that a driver can break |
//!
//! Guest memory is reached by accesses that end later ([`GuestMemory`](vfio_user_kit::GuestMemory)),
//! so the queue is a state machine: each step starts an access, the access's end is the next step.

mod chain;
mod fault;
mod flags;
mod layout;
mod queue;
mod registers;
mod transport;

pub use chain::{Buffer, Request};
pub use fault::Fault;
pub use flags::{Features, Status};
pub use layout::{DeviceType, Interface};
pub use queue::{Areas, MAX_QUEUE_SIZE, PackedQueue, Progress, SplitQueue, Virtqueue};
pub use transport::Transport;
