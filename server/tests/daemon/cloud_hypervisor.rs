//! A client in Cloud Hypervisor's order: rust-vmm's client, which speaks version 0.1, asks for
//! everything before it maps memory, sends up to 16 descriptors in a SET_IRQS although it announces
//! one, never resets a device, and does not look whether an answer is an error.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use my_rng_model::generator::{ChaCha20, Generator};
use vfio_user::Client;

use crate::common::*;
use crate::daemon::Daemon;

/// Size of a region of guest memory, of which there are two.
const MEMORY: u64 = 1 << 20;
/// Places in it.
const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const BUFFER: u64 = MEMORY + 0x100;
/// Bytes that the guest asks for at a time.
const LENGTH: u32 = 64;
/// BAR of virtio's modern interface, and its notification register.
const VIRTIO: u32 = 4;
const NOTIFY: u64 = 0x3000;
const ISR: u64 = 0x1000;
/// Identity of the MSI-X capability, and what enables it in its message control.
const MSIX_CAPABILITY: u8 = 0x11;
const MSIX_ENABLE: u16 = 0x8000;

/// A virtual machine's side of one connection.
struct Vmm {
    client: Client,
    memory: File,
    /// Eventfds of the MSI-X vectors.
    events: Vec<OwnedFd>,
    /// The eventfd of the interrupt pin.
    pin: OwnedFd,
}

/// How a guest's driver is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Interrupts {
    Pin,
    Msix,
}

impl Vmm {
    /// Connects and sets everything up that the VMM does before its guest runs.
    fn boot(daemon: &Daemon) -> Vmm {
        let mut client = Client::new(&daemon.path()).unwrap();
        for bar in (0x10..0x28).step_by(4) {
            let mut size = [0; 4];
            client.region_write(CONFIG, bar, &[0xff; 4]).unwrap();
            client.region_read(CONFIG, bar, &mut size).unwrap();
        }
        let vectors = client.get_irq_info(MSIX).unwrap().count;
        let pins = client.get_irq_info(INTX).unwrap().count;
        if client.resettable() {
            client.reset().unwrap();
        }
        let memory: OwnedFd = memory(2 * MEMORY);
        for start in [0, MEMORY] {
            client.dma_map(start, start, MEMORY, memory.as_raw_fd()).unwrap();
        }
        let events = (0..vectors).map(|_| event()).collect();
        let mut vmm = Vmm { client, memory: File::from(memory), events, pin: event() };
        if pins > 0 {
            let fds = [vmm.pin.as_raw_fd()];
            vmm.client.set_irqs(INTX, DATA_EVENTFD | TRIGGER, 0, 1, &fds).unwrap();
        }
        vmm.write(CONFIG, 4, &[6, 0]);
        vmm
    }

    /// Goes from the pin to MSI-X when the guest enables that, with eventfds in batches.
    fn enable_msix(&mut self) {
        let config: [u8; 256] = self.read(CONFIG, 0);
        let capability = find_capability(&config, MSIX_CAPABILITY).unwrap();
        self.client.set_irqs(INTX, DATA_NONE | TRIGGER, 0, 0, &[]).unwrap();
        self.write(CONFIG, capability + 2, &MSIX_ENABLE.to_le_bytes());
        for (batch, start) in self.events.chunks(16).zip((0..).step_by(16)) {
            let fds: Vec<_> = batch.iter().map(AsRawFd::as_raw_fd).collect();
            let (flags, count) = (DATA_EVENTFD | TRIGGER, fds.len() as u32);
            self.client.set_irqs(MSIX, flags, start, count, &fds).unwrap();
        }
    }

    /// The guest is interrupted once, and acknowledges it.
    fn take_interrupt(&mut self, by: Interrupts) {
        let event = if by == Interrupts::Pin { &self.pin } else { &self.events[1] };
        wait_readable(event, "the answer's interrupt");
        assert_eq!(signals(event), 1);
        if by == Interrupts::Pin {
            assert_eq!(self.read(VIRTIO, ISR), [1]);
            self.client.set_irqs(INTX, DATA_NONE | UNMASK, 0, 1, &[]).unwrap();
        }
    }

    fn read<const N: usize>(&mut self, region: u32, offset: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.client.region_read(region, offset, &mut bytes).unwrap();
        bytes
    }

    fn write(&mut self, region: u32, offset: u64, data: &[u8]) {
        self.client.region_write(region, offset, data).unwrap();
    }

    /// The VMM ends as it does when its guest powers off: without a RESET.
    fn shut_down(mut self) {
        if !self.events.is_empty() {
            self.client.set_irqs(MSIX, DATA_NONE | TRIGGER, 0, 0, &[]).unwrap();
        }
        for start in [0, MEMORY] {
            self.client.dma_unmap(start, MEMORY).unwrap();
        }
        self.client.shutdown().unwrap();
    }
}

/// Where a capability begins in configuration space.
fn find_capability(config: &[u8; 256], id: u8) -> Option<u64> {
    let mut place = usize::from(config[0x34]);
    while place != 0 {
        if config[place] == id {
            return Some(place as u64);
        }
        place = usize::from(config[place + 1]);
    }
    None
}

/// The guest's driver of the entropy device starts it.
fn start_virtio(vmm: &mut Vmm, interrupts: Interrupts) {
    if interrupts == Interrupts::Msix {
        vmm.enable_msix();
    }
    vmm.write(VIRTIO, 0x14, &[0]);
    assert_eq!(vmm.read(VIRTIO, 0x14), [0], "nothing of the guest before is left");
    vmm.write(VIRTIO, 0x14, &[3]);
    vmm.write(VIRTIO, 0x08, &1_u32.to_le_bytes());
    vmm.write(VIRTIO, 0x0c, &1_u32.to_le_bytes());
    vmm.write(VIRTIO, 0x14, &[11]);
    vmm.write(VIRTIO, 0x1a, &[1, 0]);
    vmm.write(VIRTIO, 0x18, &16_u16.to_le_bytes());
    for (register, address) in [(0x20, DESCRIPTORS), (0x28, AVAILABLE), (0x30, USED)] {
        vmm.write(VIRTIO, register, &(address as u32).to_le_bytes());
    }
    vmm.write(VIRTIO, 0x1c, &[1, 0]);
    vmm.write(VIRTIO, 0x14, &[15]);
    assert_eq!(vmm.read(VIRTIO, 0x14), [15]);
}

/// The guest asks for bytes a number of times, and is interrupted for each answer.
fn draw(vmm: &mut Vmm, requests: u16, interrupts: Interrupts) -> Vec<u8> {
    let mut drawn = Vec::new();
    let descriptor = Bytes::new().u64(BUFFER).u32(LENGTH).u16(2).u16(0).0;
    vmm.memory.write_all_at(&descriptor, DESCRIPTORS).unwrap();
    for request in 1..=requests {
        vmm.memory.write_all_at(&request.to_le_bytes(), AVAILABLE + 2).unwrap();
        vmm.write(VIRTIO, NOTIFY, &[0, 0]);
        vmm.take_interrupt(interrupts);
        let (mut used, mut bytes) = ([0; 2], [0; LENGTH as usize]);
        vmm.memory.read_exact_at(&mut used, USED + 2).unwrap();
        assert_eq!(u16::from_le_bytes(used), request);
        vmm.memory.read_exact_at(&mut bytes, BUFFER).unwrap();
        drawn.extend(bytes);
    }
    drawn
}

#[test]
fn the_teaching_device_serves_two_virtual_machines_in_turn() {
    let daemon = Daemon::start(&["--generator", "glibc"]);
    for _ in 0..2 {
        let mut vmm = Vmm::boot(&daemon);
        assert_eq!(daemon.guest_maps(), 2);
        assert_eq!(vmm.read(CONFIG, 0), [0x34, 0x12, 0xfe, 0xca]);
        vmm.write(0, 4, &1_u32.to_le_bytes());
        let numbers = [(); 3].map(|()| u32::from_le_bytes(vmm.read(0, 0)));
        assert_eq!(numbers, [1804289383, 846930886, 1681692777]);
        vmm.shut_down();
        wait_until("the memory is given back", || daemon.guest_maps() == 0);
    }
}

#[test]
fn the_entropy_device_serves_three_virtual_machines_in_turn() {
    let daemon = Daemon::start(&["--device", "virtio-rng", "--source", "chacha20:7"]);
    let mut stream = ChaCha20::from_seed(7);
    for interrupts in [Interrupts::Msix, Interrupts::Pin, Interrupts::Msix] {
        let mut vmm = Vmm::boot(&daemon);
        assert_eq!((vmm.events.len(), daemon.guest_maps()), (2, 2));
        start_virtio(&mut vmm, interrupts);
        let expected: Vec<u8> = (0..80).flat_map(|_| stream.next_u32().to_le_bytes()).collect();
        assert_eq!(draw(&mut vmm, 5, interrupts), expected);
        vmm.shut_down();
        wait_until("the memory is given back", || daemon.guest_maps() == 0);
    }
}

#[test]
fn a_vmm_that_is_killed_leaves_nothing_to_the_next_guest() {
    let daemon = Daemon::start(&["--device", "virtio-rng", "--source", "chacha20:7"]);
    for _ in 0..2 {
        let mut vmm = Vmm::boot(&daemon);
        assert_eq!(vmm.read(VIRTIO, 0x14), [0], "the status, before the driver resets the device");
        start_virtio(&mut vmm, Interrupts::Msix);
        draw(&mut vmm, 1, Interrupts::Msix);
        drop(vmm);
        wait_until("the memory is given back", || daemon.guest_maps() == 0);
    }
}
