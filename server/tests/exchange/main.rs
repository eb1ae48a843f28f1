//! Another process takes a daemon's place while its guests run.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]
// The helpers are made for the daemon's other tests, too.
#![allow(dead_code)]

#[path = "../../../crates/vfio-user-device/tests/common/mod.rs"]
mod common;
#[path = "../daemon/daemon.rs"]
mod daemon;

#[path = "../daemon/in_sandbox.rs"]
mod in_sandbox;
#[path = "../daemon/rng_guest.rs"]
mod rng_guest;

mod exchanged;
mod failed;
mod many;
mod messages;
mod numbers;
mod recorded;
mod sandbox;
mod sources;
