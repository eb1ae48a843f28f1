//! The daemon, as a client and an operator meet it: every rule of the protocol, hostile clients,
//! the life of its socket, its command line, what a register read costs.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]

#[path = "../../../crates/vfio-user-device/tests/common/mod.rs"]
mod common;

mod clients;
mod cloud_hypervisor;
mod command_line;
mod cost;
mod daemon;
mod descriptors;
mod dma;
mod framing;
mod info;
mod irqs;
mod libvirt;
mod log;
mod migration;
mod negotiation;
mod others;
mod passed;
mod peer;
mod probe;
mod probe_servers;
mod recordings;
mod regions;
mod rng_guest;
mod signals;
mod traces;
mod virtio_rng;
