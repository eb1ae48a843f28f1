use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};

use super::*;
use crate::pci::config::{Bar, DeviceConfig, Identity, Msix};

const MSIX_CONTROL: usize = 0x42;
/// Message control of MSI, whose capability comes after the 12 bytes of MSI-X.
const MSI_CONTROL: usize = 0x4e;
/// Its enable bit, and the fields that allow 4 and all 8 vectors.
const MSI_ENABLE: u8 = 1;
const MSI_ALLOW_4: u8 = 2 << 4;
const MSI_ALLOW_8: u8 = 3 << 4;
const COMMAND: usize = 0x04;

fn parts() -> (Interrupts, ConfigSpace) {
    let config = DeviceConfig::new(Identity::new(1, 2))
        .bar(0, Bar::memory32(4096))
        .interrupt_pin()
        .msix(Msix { vectors: 70, bar: 0, table: 0, pba: 0x800 })
        .msi(8);
    (Interrupts::new(&config), ConfigSpace::new(&config))
}

/// An eventfd and a copy of it for the server.
fn event() -> (EventFd, Option<OwnedFd>) {
    let fd = eventfd(0, EventfdFlags::NONBLOCK).unwrap();
    let copy = fd.try_clone().unwrap();
    (EventFd::from_client(fd).unwrap(), Some(copy))
}

/// The client's mask of vector 1.
fn set_masked(interrupts: &mut Interrupts, index: IrqIndex, masked: bool) {
    if masked {
        interrupts.mask(index, 1);
    } else {
        interrupts.unmask(index, 1, Instant::now());
    }
}

fn pending(interrupts: &Interrupts, vector: usize) -> bool {
    let mut bits = [0; 16];
    interrupts.read_pending(0, &mut bits);
    bits[vector / 8] & (1 << (vector % 8)) != 0
}

/// A pin that has fired, with its eventfd and the one that unmasks it.
fn fired() -> (Interrupts, ConfigSpace, EventFd, EventFd) {
    let (mut interrupts, config) = parts();
    let ((event, fd), (unmask, unmask_fd)) = (event(), event());
    interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
    interrupts.assign_unmask(unmask_fd).unwrap();
    interrupts.set_intx(true, &config);
    assert!(event.take());
    (interrupts, config, event, unmask)
}

#[test]
fn an_asserted_pin_fires_once_until_it_is_unmasked() {
    let (mut interrupts, config, event, _) = fired();
    let now = Instant::now();
    interrupts.set_intx(true, &config);
    assert!(!event.take(), "masked itself");
    interrupts.unmask(IrqIndex::Intx, 0, now);
    interrupts.settle(now + Duration::from_secs(1), true, &config);
    assert!(event.take(), "still asserted");
    interrupts.set_intx(false, &config);
    interrupts.unmask(IrqIndex::Intx, 0, now);
    interrupts.masks_changed(&config);
    assert!(!event.take() && interrupts.settles_at().is_none());
    interrupts.set_intx(true, &config);
    assert!(event.take(), "a new interrupt waits for nothing");
}

#[test]
fn an_unmask_message_leaves_the_driver_time_to_acknowledge() {
    let (mut interrupts, config, event, _) = fired();
    let now = Instant::now();
    interrupts.unmask(IrqIndex::Intx, 0, now);
    interrupts.masks_changed(&config);
    interrupts.settle(now, true, &config);
    interrupts.set_intx(true, &config);
    assert!(!event.take(), "the acknowledgement may be on its way");
    let due = interrupts.settles_at().unwrap();
    assert!(due > now);
    interrupts.unmask(IrqIndex::Intx, 0, due);
    assert_eq!(interrupts.settles_at(), Some(due), "a client cannot put it off");
    interrupts.settle(due, false, &config);
    assert!(!event.take(), "it may be among the messages that wait");
    interrupts.set_intx(false, &config);
    interrupts.settle(due, true, &config);
    assert!(!event.take(), "acknowledged");
    assert_eq!(interrupts.settles_at(), None);
}

#[test]
fn an_asserted_pin_fires_at_last_although_messages_never_end() {
    let (mut interrupts, config, event, _) = fired();
    let now = Instant::now();
    interrupts.unmask(IrqIndex::Intx, 0, now);
    interrupts.settle(now + Duration::from_secs(1), false, &config);
    assert!(event.take());
}

#[test]
fn a_mask_or_a_reset_ends_the_wait_of_an_unmasked_pin() {
    let ends: [fn(&mut Interrupts); 3] = [
        |interrupts| interrupts.mask(IrqIndex::Intx, 0),
        |interrupts| interrupts.reset(),
        |interrupts| interrupts.disable(IrqIndex::Intx),
    ];
    for end in ends {
        let (mut interrupts, config, event, _) = fired();
        let now = Instant::now();
        interrupts.unmask(IrqIndex::Intx, 0, now);
        end(&mut interrupts);
        assert_eq!(interrupts.settles_at(), None);
        interrupts.settle(now + Duration::from_secs(1), true, &config);
        assert!(!event.take());
    }
}

#[test]
fn a_pin_unmasked_by_eventfd_waits_for_the_messages_before_it_alone() {
    let (mut interrupts, config, event, unmask) = fired();
    let now = Instant::now();
    interrupts.take_unmask(now);
    assert_eq!(interrupts.settles_at(), None, "there was no signal");
    unmask.signal().unwrap();
    interrupts.take_unmask(now);
    interrupts.settle(now, false, &config);
    assert!(!event.take());
    interrupts.settle(now, true, &config);
    assert!(event.take());
}

#[test]
fn the_command_registers_interrupt_disable_holds_intx_back() {
    let (mut interrupts, mut config) = parts();
    let (event, fd) = event();
    interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
    config.write(COMMAND, &[0, 4]);
    interrupts.set_intx(true, &config);
    assert!(!event.take());
    config.write(COMMAND, &[0, 0]);
    interrupts.masks_changed(&config);
    assert!(event.take());
}

#[test]
fn a_pin_asserted_before_its_eventfd_fires_when_it_comes() {
    let (mut interrupts, config) = parts();
    let (event, fd) = event();
    interrupts.set_intx(true, &config);
    interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
    assert!(event.take());
}

#[test]
fn function_mask_keeps_vectors_pending() {
    let (mut interrupts, mut config) = parts();
    let (event, fd) = event();
    interrupts.assign(IrqIndex::Msix, 67, [fd].into_iter(), &config).unwrap();
    config.write(MSIX_CONTROL, &[0, 0xc0]);
    interrupts.signal_vector(67, &config);
    assert!(!event.take());
    assert!(pending(&interrupts, 67) && !pending(&interrupts, 66));
    config.write(MSIX_CONTROL, &[0, 0x80]);
    interrupts.masks_changed(&config);
    assert!(event.take());
    assert!(!pending(&interrupts, 67));
}

#[test]
fn each_mask_of_a_vector_keeps_it_pending() {
    let masks: [fn(&mut Interrupts, bool); 2] = [
        |interrupts, masked| set_masked(interrupts, IrqIndex::Msix, masked),
        |interrupts, masked| interrupts.table.write(16 + 12, &[u8::from(masked)]),
    ];
    for set in masks {
        let (mut interrupts, mut config) = parts();
        let (event, fd) = event();
        config.write(MSIX_CONTROL, &[0, 0x80]);
        interrupts.assign(IrqIndex::Msix, 1, [fd].into_iter(), &config).unwrap();
        set(&mut interrupts, true);
        interrupts.signal_vector(1, &config);
        assert!(!event.take() && pending(&interrupts, 1));
        set(&mut interrupts, false);
        interrupts.masks_changed(&config);
        assert!(event.take() && !pending(&interrupts, 1));
    }
}

#[test]
fn vectors_of_a_disabled_msix_are_dropped() {
    let (mut interrupts, mut config) = parts();
    interrupts.signal_vector(0, &config);
    config.write(MSIX_CONTROL, &[0, 0x80]);
    assert!(!pending(&interrupts, 0));
    interrupts.signal_vector(0, &config);
    assert!(pending(&interrupts, 0), "enabled, but without an eventfd yet");
    interrupts.signal_vector(999, &config);
}

#[test]
fn a_full_blocking_eventfd_does_not_stop_the_server() {
    let (mut interrupts, config) = parts();
    let fd = eventfd(0, EventfdFlags::empty()).unwrap();
    rustix::io::write(&fd, &(u64::MAX - 1).to_ne_bytes()).unwrap();
    interrupts.assign(IrqIndex::Msix, 0, [Some(fd)].into_iter(), &config).unwrap();
    interrupts.signal_vector(0, &config);
}

#[test]
fn only_eventfds_are_taken() {
    let (mut interrupts, config) = parts();
    let file = OwnedFd::from(std::fs::File::open("/dev/zero").unwrap());
    let refused = interrupts.assign(IrqIndex::Msix, 0, [Some(file)].into_iter(), &config);
    assert_eq!(refused, Err(Errno::INVAL));
    let (event, fd) = event();
    interrupts.assign(IrqIndex::Msix, 0, [fd].into_iter(), &config).unwrap();
    let file = OwnedFd::from(std::fs::File::open("/dev/zero").unwrap());
    let fds = [Some(self::event().1.unwrap()), Some(file)].into_iter();
    assert_eq!(interrupts.assign(IrqIndex::Msix, 0, fds, &config), Err(Errno::INVAL));
    interrupts.signal(IrqIndex::Msix, 0);
    assert!(event.take(), "nothing has changed");
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    assert_eq!(interrupts.assign_unmask(Some(pipe)), Err(Errno::INVAL));
}

#[test]
fn a_new_client_starts_without_eventfds_and_masks() {
    let (mut interrupts, config) = parts();
    interrupts.mask(IrqIndex::Intx, 0);
    interrupts.set_intx(true, &config);
    interrupts.disconnect();
    let (event, fd) = event();
    interrupts.assign(IrqIndex::Intx, 0, [fd].into_iter(), &config).unwrap();
    assert!(event.take(), "the level was kept");
}

#[test]
fn an_msi_vector_signals_its_eventfd_alone() {
    let (mut interrupts, mut config) = parts();
    let ((first, first_fd), (other, other_fd)) = (event(), event());
    config.write(MSI_CONTROL, &[MSI_ENABLE | MSI_ALLOW_8]);
    interrupts.assign(IrqIndex::Msi, 6, [first_fd, other_fd].into_iter(), &config).unwrap();
    interrupts.signal_vector(6, &config);
    assert!(first.take() && !other.take());
    interrupts.signal_vector(8, &config);
    assert!(!first.take() && !other.take(), "there is no such vector");
    interrupts.set_intx(true, &config);
    assert!(!interrupts.intx_asserted(&config), "a driver that uses MSI has no pin");
}

#[test]
fn a_driver_that_allows_fewer_msi_vectors_gets_the_low_bits_of_their_numbers() {
    let (mut interrupts, mut config) = parts();
    config.write(MSI_CONTROL, &[MSI_ENABLE | MSI_ALLOW_4]);
    let (event, fd) = event();
    interrupts.assign(IrqIndex::Msi, 2, [fd].into_iter(), &config).unwrap();
    interrupts.signal_vector(6, &config);
    assert!(event.take());
    interrupts.signal_vector(5, &config);
    assert!(!event.take());
}

#[test]
fn msi_enabled_by_eventfds_alone_has_all_of_its_vectors() {
    let (mut interrupts, config) = parts();
    let (event, fd) = event();
    assert!(!interrupts.msi_enabled(&config));
    interrupts.assign(IrqIndex::Msi, 7, [fd].into_iter(), &config).unwrap();
    assert!(interrupts.msi_enabled(&config) && !interrupts.msix_enabled(&config));
    interrupts.signal_vector(7, &config);
    assert!(event.take());
    interrupts.disable(IrqIndex::Msi);
    assert!(!interrupts.msi_enabled(&config));
}

#[test]
fn an_msi_vector_raised_before_its_eventfd_or_behind_a_mask_fires_later() {
    let (mut interrupts, mut config) = parts();
    config.write(MSI_CONTROL, &[MSI_ENABLE | MSI_ALLOW_8]);
    interrupts.signal_vector(1, &config);
    let (event, fd) = event();
    interrupts.assign(IrqIndex::Msi, 1, [fd].into_iter(), &config).unwrap();
    assert!(event.take());
    interrupts.mask(IrqIndex::Msi, 1);
    interrupts.signal_vector(1, &config);
    assert!(!event.take());
    interrupts.unmask(IrqIndex::Msi, 1, Instant::now());
    interrupts.masks_changed(&config);
    assert!(event.take());
}

#[test]
fn msi_ends_with_a_reset_and_with_its_client() {
    let (mut interrupts, mut config) = parts();
    config.write(MSI_CONTROL, &[MSI_ENABLE]);
    interrupts.signal_vector(0, &config);
    config.reset();
    interrupts.reset();
    assert!(!interrupts.msi_enabled(&config));
    let (event, fd) = event();
    interrupts.assign(IrqIndex::Msi, 0, [fd].into_iter(), &config).unwrap();
    assert!(!event.take(), "what was pending has gone with the reset");
    interrupts.disconnect();
    assert!(!interrupts.msi_enabled(&config));
}
