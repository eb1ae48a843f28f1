//! The entropy device, driven as a guest drives it: its registers, its rings, and everything that
//! a hostile driver can do to both. No guest and no socket: the device lies on the kit's bench.
#![allow(clippy::cast_possible_truncation)]

mod concurrent;
mod configuration;
mod driver;
mod exchange;
mod hostile;
mod interrupts;
mod legacy;
mod linux;
mod packed;
mod requests;
mod status;
mod waiting;
