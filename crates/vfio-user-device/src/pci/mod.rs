//! PCI as a guest sees it: configuration space, BARs, interrupts, reset.

mod capabilities;
pub(crate) mod config;
mod config_space;
pub(crate) mod function;
pub(crate) mod interrupts;
mod intx;
pub(crate) mod irq_index;
mod msi;
mod msix;
pub(crate) mod panics;
pub(crate) mod register;
mod tasks;

pub(crate) use config_space::{CONFIG_SIZE, ConfigSpace, ConfigSpaceState, WindowTarget};
pub(crate) use interrupts::InterruptState;
pub(crate) use msix::MsixTable;
