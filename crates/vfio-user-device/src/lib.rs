//! Write a PCI device in one safe Rust file and plug it into a running QEMU.
//!
//! The device lives in a process of its own. QEMU's `vfio-user-pci` connects to its socket, and
//! the guest sees a PCI device like any other. This crate is everything between the two: the
//! vfio-user protocol, PCI configuration space, interrupts, guest memory. A device implements
//! [`Device`]; [`TestBench`] tries it without a guest. With the feature `cli`, `main` makes a program
//! of it, and the module `tutorial` grows a device register by register. A whole one is in
//! `examples/counter.rs`.
//!
//! # The parts
//!
//! | module | what it knows | what it does not know |
//! | --- | --- | --- |
//! | [`Device`], [`DeviceConfig`], [`Bus`] | what a device author writes and is given | sockets, messages, threads |
//! | `pci` | a device as a PCI function: configuration space, BARs, interrupts, reset | the protocol |
//! | `memory` | guest memory, by its file or by message | the device |
//! | [`Task`] | device code that waits, and when it can go on | sockets, messages |
//! | [`wire`] | the layout of messages | what they mean |
//! | `protocol` | what each command checks, does and replies; one file per command family | the socket's path |
//! | `session` | one client: which event is next | how it was accepted |
//! | [`recording`] | what is recorded of a session, and the file | what it means |
//! | [`exchange`], `keeper` | how another process goes on with clients and devices, planned or after a crash | devices |
//! | [`server`] | sockets, admission, one client after the other | messages |
//! | `cli` (a feature) | command line, log, signals, systemd | clients |
//!
//! # Two rules that shape everything
//!
//! **A callback never waits.** A register access has to be answered whatever the device is busy with:
//! while a virtual CPU waits for it, QEMU holds its big lock, and can neither run another virtual
//! CPU nor answer the device's own DMA messages. What takes time is written in a [`Task`], which
//! [`Bus::spawn`] starts and which waits at each `await`; or it is started in one callback and ends in
//! another: [`Bus::set_timer`] and [`Device::on_timer`], [`Bus::dma_read`] and
//! [`Device::on_dma_complete`], [`Bus::wait_for`] and [`Device::on_wake`]. Tasks end with the client.
//! A timer that is due without a client fires when the next one has connected. Guest memory that
//! QEMU shares by file descriptor is copied at once, other memory by messages; a device need not know
//! which it is.
//!
//! **Whatever comes from the other side is hostile.** A message is received whole, taken apart and
//! checked by a pure function, and then carried out. It ends in a reply, an error reply with the
//! stream still in sync, or (when the length in a header cannot be true, so that the start of the
//! next message is unknown) in the connection's end with a line in the log. Memory shared with a
//! guest is copied, then looked at. A guest that truncates its memory gets an error, not a crash.
//!
//! # Where the specification leaves a choice
//!
//! The specification is QEMU's `docs/interop/vfio-user.rst`. libvfio-user is the C library that
//! most other servers are made of.
//!
//! | point | here | why |
//! | --- | --- | --- |
//! | DMA_MAP over an existing region | `EEXIST`, also for an identical one | the specification; libvfio-user has `EINVAL`, and accepts an identical one |
//! | capabilities in VERSION's reply | only those the client named | the specification; also keeps the reply to QEMU shorter than its request, which QEMU needs |
//! | minor version | the smaller of the client's and 1 | the specification |
//! | `max_dma_maps` | 65535, the default, offered or not | the specification; libvfio-user has 64 |
//! | more regions than that | `EINVAL` | libvfio-user |
//! | a guest with more than 16 regions or 64 GiB, when the process has mapped 32768 or 32 TiB | the surplus is reached by messages | one guest's regions must leave maps and addresses to the others |
//! | memory that a client has mapped privately itself | the first accesses go by message, and are compared with the mapping; mappings in which nothing shows are dropped. Only a client that proposes `write_multiple`, or announces ROM without a descriptor, is asked | QEMU sends the descriptor of memory with `share=off`; rust-vmm's clients send one with everything and do not expect to be asked |
//! | DMA_MAP without read and write | `EINVAL` | the kernel's VFIO |
//! | a regular file that is too short for its region | `EINVAL` | mmap(2) would accept it, and the first access fail |
//! | DMA_UNMAP of a range with several regions, or none | takes all that lie in it; `EINVAL` when one lies across its border | the kernel's VFIO, which QEMU with a virtual IOMMU is written for; libvfio-user has `ENOENT` for anything but one region |
//! | flags of DMA_UNMAP | bit 1 is "all", others `EINVAL` | the specification has none; QEMU and libvfio-user follow the kernel |
//! | DMA_UNMAP during a DMA message to that region | answered after the client's reply, but after 100 ms at the latest (and a look at what lay in the socket by then), or when more than 64 wait; the access then fails and a late reply is ignored. One that the device itself has cancelled is not waited for | the specification wants the former; QEMU answers nothing while it waits for the unmap, and gives up after 5 s |
//! | `count` in DMA_READ and DMA_WRITE | 8 bytes, also in DMA_WRITE's reply | QEMU 11 and libvfio-user; the specification's table has 4 in that one place |
//! | DMA_WRITE's reply | also without address and count, or with 4 bytes of count | QEMU's published sources; the specification |
//! | an answer to a DMA message by another command | fails the access with `EPROTO` | no other answer will come |
//! | DMA_MAP with the flags MMAP (bit 2) or FILE_IO (bit 3) | a file with FILE_IO alone is read and written by pread(2) and pwrite(2), 16 files of a client in any case; any other is mapped | libvfio-user since June 2026; older clients set neither |
//! | SET_IRQS with a `count` of 0 | takes all eventfds of the index away, whatever `start` is | the kernel's VFIO |
//! | data in one DMA_READ or DMA_WRITE | 64 KiB at most, also for a client that takes more | QEMU sends a reply with one write that does not wait, and what its socket has no room for is never sent |
//! | a message that is not finished within 5 s | ends the connection, with a line in the log | no later message can be read before its end |
//! | twin socket | given to a client that offers it | the specification recommends it; QEMU 11 does not offer it |
//! | REGION_WRITE_MULTI | offered, every entry checked before the first is written | the specification; libvfio-user lacks it |
//! | a read or write of 0 bytes | a reply of the header alone | libvfio-user |
//! | a posted message that fails | no reply, not even an error | the specification |
//! | a reply without a request | `EINVAL` | libvfio-user; an answer that comes too late is dropped |
//! | a message with file descriptors that has no use for them | the descriptors are closed, the message is answered | libvfio-user; VERSION with descriptors is refused, as there |
//! | an eventfd | is made non-blocking, for the client too | a client could otherwise stop the server with one that is full; QEMU's are non-blocking |
//! | MSI-X | maskable | so that a client can mask single vectors and read their pending bits; the kernel does not offer it |
//! | an interrupt's descriptor that is no eventfd | `EINVAL` | the kernel's VFIO; anything else could block the server or wake it for ever |
//! | INTx | maskable and automasked | the kernel's vfio-pci, which QEMU is written for |
//! | UNMASK with an eventfd | the client signals it to unmask the pin | the kernel's vfio-pci, and what QEMU with KVM does; the specification has the server signal it |
//! | UNMASK of a pin that is still asserted | the pin fires again when the messages before it are through; after an UNMASK message not before 1 ms, and after 100 ms at the latest | QEMU without KVM unmasks before the guest's acknowledging write has come: an interrupt without a cause |
//! | MSI | maskable | as MSI-X |
//! | MSI vectors beyond those that the driver allows | raised by the low bits of their number | as a card that puts them into the message; none is lost |
//! | MSI vector without eventfd | stays pending while MSI is enabled | as MSI-X |
//! | MSI-X table mask bits | count once a client has written them | clients emulate the table themselves and never clear the power-on masks here |
//! | MSI-X vector without eventfd | stays pending while MSI-X is enabled | so that nothing is lost between a guest's enable and the client's SET_IRQS |
//! | writes to read-only configuration space | ignored | PCI; libvfio-user has `EPERM`, which QEMU would log |
//! | GET_REGION_IO_FDS | `ENOTSUP` when well-formed | not offered |
//! | `migration` in VERSION's reply | of a device with [`Device::save_to_migrate`]; bitmaps of 1 MiB at most | the specification: a client that does not find it does not try |
//! | DEVICE_FEATURE | `EINVAL` for a feature that the device does not have | libvfio-user |
//! | a standstill while the client owes the reply to a DMA message | begins after 100 ms at the latest; the message is sent again when the device goes on, here or at another server | QEMU answers nothing while it waits for the reply |
//! | registers of a device that stands still | `EINVAL`, except configuration space | nothing of its state may change; libvfio-user lets the client decide |
//! | PRE_COPY | is there, and has no data | libvfio-user's clients use it; a device's state is small |
//! | RESUMING without data | changes nothing | clients pass through |
//! | a state that the device does not take | leads to the state ERROR, which a reset ends | the specification |
//! | a migration while the server is exchanged | the exchange is refused | the client has to try one of them again |
//! | DMA_LOGGING_START with ranges | logs all that is written, in pages of 4 KiB or more | the specification; the log has a bound of 6 MiB, past which its pages become larger |
//! | DMA_LOGGING_REPORT of any range | is possible, also across regions or where there is none | the kernel's VFIO; libvfio-user wants exactly one region |
//! | region info with too small an `argsz` | 32 bytes that tell the size needed; neither MMAP flag nor descriptor yet | the descriptor belongs to the reply that the client can use |
//! | a client that says nothing | disconnected after 5 s | it would keep the next one out |
//! | a second client beside a connected one | its VERSION is answered with `EBUSY`, then it is closed; one that says nothing is closed after 1 s | QEMU fails with a message instead of hanging, and does not meet a reset connection, which it aborts on |
//! | a client that goes | takes what its guest has set in PCI configuration and the MSI-X table along; what becomes of the device's own state is the device's affair ([`Device::on_disconnect`]) | a client may never send DEVICE_RESET: Cloud Hypervisor does not |
//! | a device that panics | is disabled until its client disconnects: its BARs read as all ones and ignore writes, it signals no interrupt and accesses no guest memory; the connection stays. Later clients get a device of [`server::Server::with_factory`], or `ENODEV` until the program is started again | QEMU aborts when a connection ends in the wrong moment, and the state that a panic leaves behind is not to be trusted |
//! | a client that comes when the one before it has just gone | waits up to 1 s for the end of that session | a guest that restarts its QEMU finds its device |
//! | a client that the [`server::AdmissionPolicy`] rejects | its VERSION is answered with `EUSERS`, then it is closed | QEMU says "Too many users"; `ENOSPC` would make people look at their disks |
//! | a client that connects without end | 100 in 100 ms are accepted at one socket, the others wait | the thread that accepts belongs to all servers of the program |
#![deny(missing_docs)]
// Tests count in small numbers.
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

mod access;
mod bus;
mod causes;
#[cfg(feature = "cli")]
pub mod cli;
mod descriptors;
mod device;
mod eventfd;
pub mod exchange;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
// Only a program has a keeper.
#[cfg_attr(not(feature = "cli"), allow(dead_code))]
mod keeper;
mod memory;
mod migration;
mod pci;
mod protocol;
mod raw_fds;
pub mod recording;
#[cfg(feature = "sandbox")]
pub mod sandbox;
pub mod server;
mod session;
mod signal_action;
mod state;
mod task;
mod test_bench;
mod timers;
mod tracked;
#[cfg(feature = "cli")]
#[doc = include_str!("tutorial.md")]
pub mod tutorial {}
mod waker;

pub use access::{Access, Width};
pub use bus::Bus;
#[cfg(feature = "cli")]
pub use cli::main;
pub use device::Device;
/// Guest memory that rust-vmm's crates have mapped.
#[doc(hidden)]
pub mod rust_vmm {
    pub use crate::memory::WatchedMemory;
}
/// The `log` crate, so that a device in a single file can write to the log.
pub use log;
pub use memory::{DmaCompletion, DmaError, Rejected, Segment, SharedMemory};
pub use pci::config::{Bar, BarWindow, Class, ConfigError, DeviceConfig, Identity, Msix, Register};
pub use pci::function::FunctionError;
pub use protocol::wire;
/// The `serde` crate, so that a device in a single file can derive its state.
pub use serde;
pub use state::{DeviceState, Hex, StateError};
pub use task::{GuestMemory, Task};
pub use test_bench::TestBench;
pub use waker::Waker;

/// The examples of README.md are tested like all others.
#[cfg(all(doctest, feature = "cli"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
