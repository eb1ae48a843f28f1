//! BAR 0 through sysfs: the device without its driver.

use crate::pci::Function;
use crate::sys::Mapping;
use anyhow::{Context as _, Result};
use rustix::io::Errno;
use std::fs::{self, OpenOptions};

/// BAR 0, mapped.
#[derive(Debug)]
pub struct Registers {
    /// The registers; dropped before the device is disabled.
    pub bar: Mapping,
    _enabled: Option<Enabled>,
}

/// What came of the attempt to map the registers.
#[derive(Debug)]
pub enum Access {
    /// Here they are.
    Granted(Registers),
    /// The kernel keeps them to their driver, or there is none; with the reason.
    Refused(String),
}

/// Maps BAR 0, which has so many bytes.
pub fn map(function: Option<&Function>, size: usize) -> Result<Access> {
    let Some(function) = function else {
        return Ok(Access::Refused("no such device on the PCI bus".into()));
    };
    let enabled = if function.has_driver() { None } else { Some(Enabled::new(function)?) };
    let path = function.file("resource0");
    let file = OpenOptions::new().read(true).write(true).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    match Mapping::new(&file, size) {
        Ok(bar) => Ok(Access::Granted(Registers { bar, _enabled: enabled })),
        // IO_STRICT_DEVMEM: what a driver has claimed is for the driver.
        Err(Errno::INVAL | Errno::PERM) if function.has_driver() => Ok(Access::Refused(
            "the driver has claimed BAR 0: unbind it, or boot with iomem=relaxed".into(),
        )),
        Err(errno) => Err(errno).with_context(|| format!("mapping {}", path.display())),
    }
}

/// Memory decoding is on as long as this lives; a hot-plugged device starts with it off.
#[derive(Debug)]
struct Enabled(Function);

impl Enabled {
    fn new(function: &Function) -> Result<Self> {
        let path = function.file("enable");
        fs::write(&path, "1").with_context(|| path.display().to_string())?;
        Ok(Self(function.clone()))
    }
}

impl Drop for Enabled {
    fn drop(&mut self) {
        // It only gives back a use count: no check depends on it.
        let _ = fs::write(self.0.file("enable"), "0");
    }
}
