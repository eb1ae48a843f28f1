//! Random bytes for guests: sources, rate limits, and the bandwidth that guests share.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`source`] | files, daemons, the operating system; a source never blocks its caller |
//! | [`health`] | tests whether a source has failed |
//! | [`limiter`] | the rate limiter: at most so many bytes in each period |
//! | [`bandwidth`] | a tree of classes: how many bytes each guest of a source gets |
//! | [`service`] | a source with its rate limiter, as a device uses it |
//! | [`sandbox`] | what the threads of sources may do |
//! | [`meter`] | counts the bytes that a guest got |
//!
//! This crate knows no PCI, no protocol and no guest. A device takes bytes; if there are none, it learns
//! when to take again. It uses two parts of the device kit, which are the same for sources and
//! devices: the waker, and the listener for socket files.
#![deny(missing_docs)]
#![cfg_attr(not(test), forbid(unsafe_code))]

pub mod bandwidth;
pub mod health;
pub mod limiter;
pub mod meter;
pub mod sandbox;
pub mod service;
pub mod source;
