//! A daemon with many guests: how they are counted and configured, what a reload leaves alone, what
//! `status` tells, how guests share a source.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]
// The helpers are made for the daemon's other tests, too.
#![allow(dead_code)]

#[path = "../../vfio-user/tests/common/mod.rs"]
mod common;
#[path = "../daemon/daemon.rs"]
mod daemon;
#[path = "../daemon/rng_guest.rs"]
mod rng_guest;

mod configuration;
mod configured;
mod count;
mod in_place;
mod numbers;
mod passed;
mod reload;
mod sharing;
mod status;
