//! A daemon with a keeper, which is killed at any moment.
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

mod kept;
mod numbers;
mod rings;
mod sandbox;
mod systemd;
