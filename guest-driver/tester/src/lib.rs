//! What a program in a guest needs to reach a `my_rng` device, with its driver and without: for the
//! tester, and for the checker's exerciser.

#![deny(unsafe_code)]

pub mod pci;
pub mod registers;
#[expect(unsafe_code, reason = "ioctls and mapped registers have no safe interface")]
pub mod sys;
