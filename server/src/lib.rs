//! The devices of `my-rng-server`, without their sockets.
