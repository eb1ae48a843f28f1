//! Devices of QEMU's own source, compiled unmodified, where the source is there.
//!
//! `scripts/build-qemu.sh` fetches it, or QEMU_SOURCE names a folder with it.

use std::path::PathBuf;

use crate::common::Bytes;
use crate::compiler::{checkout, compile};
use crate::edu;
use crate::program::Program;

fn source(file: &str) -> Option<PathBuf> {
    let named = std::env::var_os("QEMU_SOURCE").map(PathBuf::from);
    let usual = || checkout().join("target/lab/qemu-my_rng/source");
    let path = named.clone().unwrap_or_else(usual).join(file);
    if path.is_file() {
        return Some(path);
    }
    assert!(named.is_none(), "QEMU_SOURCE: no {}", path.display());
    eprintln!("skipped: no {}; ./scripts/build-qemu.sh fetches it", path.display());
    None
}

#[test]
fn qemus_edu_computes_transfers_and_interrupts() {
    if let Some(source) = source("hw/misc/edu.c") {
        edu::exercise_source(&source);
    }
}

#[test]
fn qemus_pci_testdev_counts_writes_to_memory_and_ports() {
    let Some(source) = source("hw/misc/pci-testdev.c") else { return };
    let program = Program::serve(&compile(&source), &[]);
    let client = &mut program.client();
    for (bar, kind) in [(0, "mmio"), (1, "portio")] {
        client.write(bar, 0, &[0]);
        let name = client.read(bar, 16, 15);
        assert!(name.starts_with(kind.as_bytes()), "{name:?}");
        let offset = u64::from(client.read_u32(bar, 4));
        let data = client.read(bar, 8, 1);
        for _ in 0..5 {
            client.write(bar, offset, &data);
        }
        assert_eq!(client.read(bar, 12, 4), Bytes::new().u32(5).0, "{kind}");
    }
}
