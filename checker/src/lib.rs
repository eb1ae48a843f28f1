//! The coursework checker: builds what a student hands in, a kernel module, an application or a
//! device, tries it in a guest of its own, and says which of the exercise's promises it keeps.
#![deny(missing_docs)]

pub mod build;
