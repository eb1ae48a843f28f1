//! The vfio-user protocol: messages, and what each of them does. One file per command family.

pub(crate) mod commands;
pub(crate) mod connection;
pub(crate) mod connection_error;
mod dma;
mod dma_logging;
mod feature;
mod feature_wire;
pub(crate) mod header;
mod info;
mod irq;
mod limits;
pub(crate) mod message_fds;
mod migration;
pub(crate) mod negotiate;
mod region;
pub(crate) mod rejection;
pub(crate) mod request;
mod version;
pub mod wire;
