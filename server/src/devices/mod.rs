//! The devices: what a guest sees, without sockets.

pub mod my_rng;
