//! Devices in C, compiled by the system's compiler and driven by a client that shares no code with
//! the kit.
#![allow(clippy::cast_possible_truncation)]

mod callbacks;
#[path = "../../../vfio-user-device/tests/common/mod.rs"]
mod common;
mod compiler;
mod config_space;
mod dma;
mod edu;
mod exchange;
mod faults;
mod features;
mod header;
mod hostile;
mod keeper;
mod migration;
mod model;
mod my_rng;
mod program;
mod properties;
mod qemu_source;
mod splitting;
