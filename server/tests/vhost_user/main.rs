//! The entropy device over vhost-user, as a virtual machine monitor and a guest's driver meet it:
//! requests, requests that wait, connections that come and go, and hostile ones.
//!
//! The monitor is rust-vmm's own end of the protocol; the driver is a ring that each test writes
//! itself. The server is in this process, and the daemon's program where it matters.
#![allow(clippy::cast_possible_truncation)]

mod connections;
mod daemon;
mod hostile;
mod requests;
mod server;
mod vmm;
mod waiting;
