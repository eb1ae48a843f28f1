//! The teaching device as numbers: its registers, what it answers, and how answers are timed.
//!
//! It knows no PCI, no socket and no guest, so that the server, the guest's tester, the checker and
//! the lab share it: the tester computes by itself what a device has to answer.
#![deny(missing_docs)]
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod generator;
pub mod latency;
pub mod registers;
