//! A device with MSI-X, which QEMU cannot unplug.

use vfio_user_device::{Access, Bar, Bus, DeviceConfig, Device, Identity, Msix};

struct WithMsix;

impl Device for WithMsix {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(0x1234, 0xc0df).revision(1))
            .bar(0, Bar::memory32(4096))
            .msix(Msix { vectors: 1, bar: 0, table: 0x800, pba: 0xc00 })
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, _bus: &mut Bus, _access: Access, _value: u64) {}
}

fn main() -> std::process::ExitCode {
    vfio_user_device::main(WithMsix)
}
