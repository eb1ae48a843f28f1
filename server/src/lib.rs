//! What `my-rng-server` shows to its guests: the devices and the generators behind them.
//!
//! The daemon around it (sockets, signals, command line) is in the binary; the protocol and PCI
//! itself are in the [device kit](vfio_user_kit). Nothing here knows a file descriptor.
#![deny(missing_docs)]
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod devices;
pub mod generator;
