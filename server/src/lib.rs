//! What `my-rng-server` shows to its guests: the devices, and where their numbers come from.
//!
//! The daemon around it (sockets, signals, command line) is in the binary; the protocol and PCI
//! itself are in the [device kit](vfio_user_device). A device knows no file descriptor.
#![deny(missing_docs)]
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod config;
pub mod devices;
pub mod vhost_user;
