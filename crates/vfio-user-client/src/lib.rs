//! A vfio-user client that sends whatever it is told to: for `my-rng-server probe`, for tests and
//! for benchmarks.
//!
//! It shares no code with the device kit. The numbers and layouts in [`message`] are those of the
//! specification, so that a mistake in the kit shows itself here. Nothing that a server sends or does
//! not send makes it wait without a limit, allocate without a limit, or panic.
//!
//! The crate `vfio_user` has a client, too. It does not look at the error of a reply, so that it waits
//! for ever for the rest of a rejection.
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod connection;
pub mod message;

pub use connection::{Connection, ReceiveError};
pub use message::{Header, Message};
