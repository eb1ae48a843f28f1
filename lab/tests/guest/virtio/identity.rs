//! The device's configuration space, as the guest's tools show it.

use std::collections::BTreeSet;

use lab::{Guest, RunDir};

use super::rng::chosen_has_no;
use super::{Options, Rng, guest};
use crate::{assert_kernel_is_content, say};

/// The device, and next to it QEMU's own.
const OURS: &str = "00:02.0";
const QEMUS: &str = "00:03.0";

/// What the guest sees of a virtio-rng, without what differs from one to the next (see [`lspci`]).
const EXPECTED: [&str; 7] = [
    "Unclassified device [00ff]: Red Hat, Inc. Virtio 1.0 RNG (rev 01)",
    "Subsystem: Red Hat, Inc. QEMU",
    "Interrupt: pin A routed to IRQ N",
    "Region 1: Memory at ADDRESS (32-bit, non-prefetchable) [size=4K]",
    "Region 4: Memory at ADDRESS (64-bit, prefetchable) [size=16K]",
    "Capabilities: MSI-X: Enable+ Count=2 Masked- Vector table: BAR=1 offset=00000000 PBA: BAR=1 offset=00000800",
    "Kernel driver in use: virtio-pci",
];

/// The virtio structures, each in a vendor capability.
const STRUCTURES: [&str; 5] = ["CommonCfg", "Notify", "ISR", "DeviceCfg", "<unknown>"];

/// Where things are in the virtio structure for PCI configuration access: BAR, offset, length and
/// the window itself, from the start of its capability.
const WINDOW_BAR: u32 = 4;
const WINDOW_OFFSET: u32 = 8;
const WINDOW_LENGTH: u32 = 12;
const WINDOW: u32 = 16;
/// Where things are in the common configuration structure.
const NUM_QUEUES: u32 = 0x12;
const DEVICE_STATUS: u32 = 0x14;

#[test]
fn lspci_shows_what_it_shows_of_qemus_own_device_and_setpci_reads_through_the_window() {
    if chosen_has_no("PCI device of ours") {
        return;
    }
    let run = RunDir::create("virtio-identity").expect("a run can be made");
    let options = Options::default();
    let rng = Rng::start(&run, "rng", &options).expect("the device can be made");
    let qemus = Rng::inside_qemu(&run, "qemus", &options).expect("QEMU has one");
    say("booting a guest with two devices to compare");
    let mut guest = qemus.attach(rng.attach(guest(&run))).boot().expect("the guest boots");

    let ours = lspci(&mut guest, OURS);
    for expected in EXPECTED {
        assert!(ours.contains(expected), "no {expected:?} in {ours:#?}");
    }
    for structure in STRUCTURES {
        let capability = format!("Capabilities: Vendor Specific Information: VirtIO: {structure} ");
        let found = ours.iter().filter(|item| item.starts_with(&capability)).count();
        assert_eq!(found, 1, "{structure} in {ours:#?}");
    }
    assert_eq!(ours, lspci(&mut guest, QEMUS), "ours on the left, QEMU's own on the right");
    let numbers = guest.run(&format!("lspci -vn -s {OURS}")).expect("lspci works");
    let published = format!("{OURS} 00ff: 1af4:1044 (rev 01)\n\tSubsystem: 1af4:1100\n");
    assert!(numbers.starts_with(&published), "{numbers}");

    say("reading the common configuration through the window");
    let window = capability(&mut guest, "<unknown>");
    assert_eq!(through(&mut guest, window, NUM_QUEUES, 2), 1);
    // ACKNOWLEDGE, DRIVER, DRIVER_OK and FEATURES_OK: the driver is there, and stays.
    assert_eq!(through(&mut guest, window, DEVICE_STATUS, 1), 0x0f);
    super::assert_delivers(&mut guest, "virtio_rng.0");
    assert_kernel_is_content(&mut guest);
}

/// `lspci -vv` of a device: each thing it has, on a line of its own, without its place on the bus,
/// in memory, among interrupts and among the capabilities.
fn lspci(guest: &mut Guest, slot: &str) -> BTreeSet<String> {
    let text = guest.run(&format!("lspci -vv -s {slot}")).expect("lspci works");
    let text = text.replace(&format!("{slot} "), "").replace("\n\t\t", " ");
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("Physical Slot:"))
        .map(|line| {
            let line = without(line, "Memory at ", " (", "ADDRESS");
            // Which BAR the window shows is the guest's to choose.
            let line = without(&line, "VirtIO: <unknown> BAR=", " offset=", "N");
            let line = without(&line, "Capabilities: [", "] ", "");
            without(&line, "routed to IRQ ", "", "N").replace("Capabilities: [] ", "Capabilities: ")
        })
        .collect()
}

/// A line with what is between two texts replaced, if they are in it.
fn without(line: &str, after: &str, before: &str, replacement: &str) -> String {
    let Some((start, rest)) = line.split_once(after) else {
        return line.to_owned();
    };
    let end = if before.is_empty() { rest.len() } else { rest.find(before).unwrap_or(0) };
    format!("{start}{after}{replacement}{}", &rest[end..])
}

/// Where the capability of a virtio structure is.
fn capability(guest: &mut Guest, structure: &str) -> u32 {
    let text = guest.run(&format!("lspci -vv -s {OURS}")).expect("lspci works");
    text.lines()
        .find(|line| line.contains(&format!("VirtIO: {structure}")))
        .and_then(|line| line.split(['[', ']']).nth(1))
        .and_then(|place| u32::from_str_radix(place, 16).ok())
        .unwrap_or_else(|| panic!("no {structure} in {text}"))
}

/// Reads a register of the common configuration, which starts BAR 4, through the window.
fn through(guest: &mut Guest, capability: u32, register: u32, size: u32) -> u32 {
    let width = if size == 1 { "b" } else { "w" };
    let at = |field: u32| capability + field;
    let text = guest
        .run(&format!(
            "setpci -s {OURS} {:x}.b=4 {:x}.l={register:x} {:x}.l={size:x}
            setpci -s {OURS} {:x}.{width}",
            at(WINDOW_BAR),
            at(WINDOW_OFFSET),
            at(WINDOW_LENGTH),
            at(WINDOW),
        ))
        .expect("setpci works");
    u32::from_str_radix(text.trim(), 16).unwrap_or_else(|_| panic!("setpci printed {text:?}"))
}
