//! The course: steps that a student takes one after the other, each with a page, files to begin
//! with, hints and a check.
//!
//! * [`step`] reads the steps from the folder `course/steps`.
//! * [`progress`] remembers what a student has passed, and [`workspace`] holds the student's files.
//! * [`checks`] tries a step's files, most of them in a guest ([`guests`]) that is kept from one
//!   check to the next.
//! * [`watch`] waits for a file to be saved, and [`page`] prints Markdown on a terminal.
#![deny(missing_docs)]

pub mod checks;
pub mod guests;
pub mod pack;
pub mod page;
pub mod progress;
pub mod step;
pub mod watch;
pub mod workspace;
