//! Write a PCI device in one safe Rust file and plug it into a running QEMU.
//!
//! The device lives in a process of its own. QEMU's `vfio-user-pci` connects to its socket, and
//! the guest sees a PCI device like any other. This crate is everything between the two: the
//! vfio-user protocol, PCI configuration space, interrupts, guest memory. A device implements
//! [`Device`], and [`Server`] does the rest.
#![deny(missing_docs)]
// Tests count in small numbers.
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

mod bus;
mod description;
mod device;
mod dma;
mod host;
mod interrupts;
mod pci;
mod server;
mod session;
mod shared_memory;
mod test_bench;
pub mod wire;

pub use bus::Bus;
pub use description::{
    Bar, BarKind, Capability, Class, Description, DescriptionError, Identity, Msix, Register,
};
pub use device::{Access, Device, Width};
pub use dma::{DmaDone, DmaError};
pub use host::HostError;
pub use server::{Options, Server, ServerError};
pub use shared_memory::SharedMemory;
pub use test_bench::TestBench;
