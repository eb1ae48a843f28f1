//! Virtio over PCI: what every virtio device has, whatever it does.
//!
//! A virtio driver finds the device's registers by capabilities in configuration space
//! ([`Transport`]), agrees on features with it, and makes descriptor chains available in a ring in
//! guest memory ([`Virtqueue`]). The references are to the specification, "Virtual I/O Device
//! (VIRTIO) Version 1.2"; its words are used as names here.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`Transport`] | registers of both interfaces, status, interrupts |
//! | `layout` | which BAR and offset everything has, the capabilities that say so |
//! | [`Virtqueue`] | chains in guest memory, one at a time: split and packed rings |
//! | `chain` | descriptor chains, indirect ones too |
//! | `serve` | the task that takes chains and completes them, and what it asks of the [`VirtioDevice`] |
//! | [`Fault`] | every rule that a driver can break |
//!
//! Guest memory is read and written by a [task](vfio_user_device::Task), so a queue is served by
//! code that reads from top to bottom, whether its memory is mapped or reached by messages.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod chain;
mod fault;
mod flags;
mod layout;
mod queue;
mod registers;
mod serve;
#[cfg(test)]
mod test_memory;
mod transport;

pub use chain::{Buffer, ChainReader, DescriptorChain};
pub use fault::Fault;
pub use flags::{Features, Status};
pub use layout::{DeviceType, Interface, InterfaceError};
pub use queue::{MAX_QUEUE_SIZE, RingAddresses, Virtqueue};
pub use serve::{VirtioDevice, serve_queue};
pub use transport::{Transport, TransportState};
