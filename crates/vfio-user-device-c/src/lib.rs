//! The device kit for C: `libvfio_user_device`, whose manual is the header
//! `include/vfio_user_device.h`.
//!
//! A device in C is a configuration, a table of callbacks and an opaque pointer. [`abi`] has their
//! layout, [`device`] makes a [`Device`](vfio_user_device::Device) of them, [`bus`] and [`waker`]
//! are what a callback may call, [`state`] is what a process tells the one after it, [`serve`] is the
//! program around it. All `unsafe` of the crate is there, and is about pointers that C hands over.
#![deny(missing_docs)]
// A function for C has the safety that its header demands of the caller.
#![allow(clippy::missing_safety_doc)]

pub mod abi;
pub mod bus;
pub mod device;
pub mod error;
pub mod serve;
mod slices;
pub mod state;
pub mod waker;
