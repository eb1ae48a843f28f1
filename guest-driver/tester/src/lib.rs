//! What a program in a guest needs to reach a `my_rng` device, with its driver and without: for the
//! tester, and for the checker's exerciser.

#![deny(unsafe_code)]

#[expect(unsafe_code, reason = "Rust has no load or store that is one instruction for certain")]
mod instruction;
pub mod pci;
pub mod registers;
#[expect(unsafe_code, reason = "ioctls and mapped registers have no safe interface")]
pub mod sys;
