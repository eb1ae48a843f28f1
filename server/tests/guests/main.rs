//! A daemon with many guests: how they are counted and configured, what a reload leaves alone, what
//! `status` tells, how guests share a source.
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

mod configuration;
mod configured;
mod count;
mod in_place;
mod names;
mod numbers;
mod passed;
mod reload;
mod sandbox;
mod sharing;
mod state_file;
mod status;
