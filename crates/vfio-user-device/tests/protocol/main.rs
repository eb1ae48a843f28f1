//! The kit's protocol engine with a device that has one of everything behind it.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/device.rs"]
mod device;

mod dma;
mod interrupts;
mod lifecycle;
mod regions;
mod sequences;
mod served;
mod servers;
mod twin;
mod unmask;
mod window;
