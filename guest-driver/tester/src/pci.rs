//! Finding the device in sysfs.

use anyhow::{Context as _, Result, ensure};
use my_rng_model::registers::{DEVICE_ID, VENDOR_ID};
use std::fs;
use std::path::{Path, PathBuf};

const DEVICES: &str = "/sys/bus/pci/devices";
const MISC_CLASS: &str = "/sys/class/misc";

/// A PCI function, by its folder in sysfs.
#[derive(Debug, Clone)]
pub struct Function(PathBuf);

impl Function {
    /// The one with this address.
    pub fn at(address: &str) -> Result<Self> {
        let folder = Path::new(DEVICES).join(address);
        ensure!(folder.exists(), "no PCI device {address}");
        Ok(Self(folder))
    }

    /// A file of its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A number from a file of its folder.
    pub fn number(&self, name: &str) -> Result<u32> {
        let path = self.file(name);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let digits = text.trim().trim_start_matches("0x");
        u32::from_str_radix(digits, 16)
            .with_context(|| format!("{}: {:?} is no number", path.display(), text.trim()))
    }

    /// Whether a driver is bound to it.
    pub fn has_driver(&self) -> bool {
        self.file("driver").exists()
    }

    fn is(&self, vendor: u16, device: u16) -> bool {
        self.number("vendor").is_ok_and(|id| id == u32::from(vendor))
            && self.number("device").is_ok_and(|id| id == u32::from(device))
    }
}

/// The function behind a character device, or else the first `my_rng` on the bus.
pub fn find(device: &Path) -> Result<Option<Function>> {
    if let Some(name) = device.file_name() {
        let folder = Path::new(MISC_CLASS).join(name).join("device");
        if folder.exists() {
            return Ok(Some(Function(folder)));
        }
    }
    first(VENDOR_ID, DEVICE_ID)
}

/// The first function on the bus with this identity.
pub fn first(vendor: u16, device: u16) -> Result<Option<Function>> {
    let entries = fs::read_dir(DEVICES).context(DEVICES)?;
    let mut folders = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    folders.sort();
    Ok(folders.into_iter().map(Function).find(|function| function.is(vendor, device)))
}
