//! What holds for every tree and every load, proven with the simulator.
#![allow(clippy::cast_possible_truncation)]

mod forest;
mod long_run;
mod properties;
mod shares;
