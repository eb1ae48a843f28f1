//! The entropy device over vhost-user: the virtqueue is ours, the rest of the device is the VMM's.
//!
//! A VMM such as QEMU (`-device vhost-user-rng-pci`) shows the device to its guest: configuration
//! space, registers, interrupts. It connects to our socket and hands over the guest's memory and
//! two eventfds for the virtqueue, the kick ("there are requests") and the call ("there are
//! answers"). The protocol is QEMU's `docs/interop/vhost-user.rst`; rust-vmm's crates speak it.
//!
//! | module | what it knows |
//! | --- | --- |
//! | [`Server`] | the socket: one VMM after the other, until it is told to stop |
//! | [`Running`] | a server in a thread of its own |
//! | `session` | one VMM's connection, and rust-vmm's threads for it |
//! | `backend` | the device: features, which event means what |
//! | `requests` | the virtqueue: chains, answers, what a driver can get wrong |
//! | `sandbox` | which system calls its threads may make |
//! | `timer` | a timerfd |
//! | `vring` | which sizes a queue can have |
//!
//! A request that has to wait stays in the queue: the queue's position is put back before it, and
//! it is looked at again when there may be bytes. So there is nothing to lose when the driver resets
//! the device meanwhile, or the VMM is gone.

mod backend;
mod requests;
mod running;
mod sandbox;
mod server;
mod session;
mod timer;
mod vring;

pub use running::Running;
pub use sandbox::VHOST_USER;
pub use server::{Server, ServerError};

/// What this program can do, as the vhost-user backend conventions have `--print-capabilities` say
/// it. (QEMU's schema of this, `vhost-user.json`, has the type "rng" and no features for it.)
pub const CAPABILITIES: &str = r#"{"type": "rng", "features": []}"#;
