//! Recordings for people and for other programs: what a driver did, with the names of registers.
//!
//! [`Trace`] turns the records of a file into [`Entry`]s: one for each access to a register, each
//! interrupt, each access to guest memory. [`Filter`] chooses some. [`text`], [`json`], [`html`] and
//! [`pcapng`] are four ways to show them.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod config_names;
mod entry;
mod filter;
pub mod html;
pub mod json;
pub mod pcapng;
pub mod text;
mod trace;

pub use entry::{Access, Entry, Kind};
pub use filter::Filter;
pub use trace::Trace;

#[cfg(test)]
mod examples;
