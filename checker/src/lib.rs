//! The coursework checker: builds what a student hands in, a kernel module, an application or a
//! device, tries it in a guest of its own, and says which of the exercise's promises it keeps.
//!
//! * What is expected: [`profile`]. What was handed in: [`submission`], [`handed_in`]. [`build`] compiles it.
//! * The [`checks`] try it in a [`guest`], through the exerciser (package `exerciser`), and look at
//!   what reached the device ([`access_log`]) and at what the kernel said ([`kernel_log`]).
//! * [`check`] does all of that for a submission, [`batch`] for a folder of them, or a machine's part
//!   of one. [`report`] writes down what came out of one, [`table`] what came out of many.
#![deny(missing_docs)]

pub mod access_log;
pub mod batch;
pub mod build;
pub mod check;
pub mod checks;
pub mod device_program;
pub mod errno;
pub mod guest;
pub mod handed_in;
pub mod kernel_log;
pub mod profile;
pub mod recordings;
pub mod report;
pub mod stop;
pub mod submission;
pub mod table;
pub mod terminal;
pub mod tools;
pub mod watchdog;
