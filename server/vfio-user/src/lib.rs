//! The device kit.
