//! PCI as a guest sees it: configuration space and the MSI-X table.

mod config_space;
mod msix_table;

pub(crate) use config_space::{CONFIG_SIZE, ConfigSpace, WindowTarget};
pub(crate) use msix_table::MsixTable;
