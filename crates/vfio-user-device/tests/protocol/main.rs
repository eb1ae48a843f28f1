//! The kit's protocol engine with a device that has one of everything behind it.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/device.rs"]
mod device;

mod dma;
mod dma_logging;
mod file_io;
mod interrupts;
mod lifecycle;
mod migration;
mod migration_under_way;
mod msi;
mod private_memory;
mod recordings;
mod regions;
mod sequences;
mod served;
mod servers;
mod twin;
mod unmap;
mod unmask;
mod window;
