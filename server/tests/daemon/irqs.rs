//! SET_IRQS, as far as a device without interrupts has something to set: ERR and REQ.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;

#[track_caller]
fn refused(set: &[u8]) {
    assert_eq!(Daemon::start(&[]).client().refused(SET_IRQS, set), Errno::INVAL);
}

#[test]
fn short_payloads_and_argsz_are_refused() {
    let set = set_irqs(TRIGGER | DATA_NONE, ERR, 0, 0, &[]);
    refused(&set[..19]);
    refused(&[&19_u32.to_ne_bytes(), &set[4..]].concat());
    refused(&[&0_u32.to_ne_bytes(), &set[4..]].concat());
}

#[test]
fn indexes_that_do_not_exist_are_refused() {
    refused(&set_irqs(TRIGGER | DATA_NONE, 5, 0, 1, &[]));
    refused(&set_irqs(TRIGGER | DATA_NONE, u32::MAX, 0, 1, &[]));
}

#[test]
fn indexes_without_vectors_are_refused() {
    for index in [INTX, MSI, MSIX] {
        refused(&set_irqs(TRIGGER | DATA_NONE, index, 0, 0, &[]));
        refused(&set_irqs(TRIGGER | DATA_NONE, index, 0, 1, &[]));
    }
}

#[test]
fn no_action_or_two_are_refused() {
    for actions in [0, MASK | UNMASK, MASK | TRIGGER, UNMASK | TRIGGER, MASK | UNMASK | TRIGGER] {
        refused(&set_irqs(actions | DATA_NONE, ERR, 0, 1, &[]));
    }
}

#[test]
fn no_data_type_or_two_are_refused() {
    for data in [0, DATA_NONE | DATA_BOOL, DATA_BOOL | DATA_EVENTFD, 7] {
        refused(&set_irqs(TRIGGER | data, ERR, 0, 1, &[1]));
    }
}

#[test]
fn unknown_flags_are_refused() {
    for flag in [0x40, 0x80, 1 << 31] {
        refused(&set_irqs(TRIGGER | DATA_NONE | flag, ERR, 0, 1, &[]));
    }
}

#[test]
fn ranges_beyond_the_vectors_are_refused() {
    for (start, count) in [(1, 1), (0, 2), (0, u32::MAX), (1, u32::MAX), (u32::MAX, 1)] {
        refused(&set_irqs(TRIGGER | DATA_NONE, REQ, start, count, &[]));
    }
}

#[test]
fn error_and_request_cannot_be_masked() {
    for index in [ERR, REQ] {
        refused(&set_irqs(MASK | DATA_NONE, index, 0, 1, &[]));
        refused(&set_irqs(UNMASK | DATA_NONE, index, 0, 1, &[]));
    }
}

#[test]
fn count_zero_is_for_disabling_alone() {
    refused(&set_irqs(MASK | DATA_NONE, ERR, 0, 0, &[]));
    refused(&set_irqs(TRIGGER | DATA_BOOL, ERR, 0, 0, &[]));
    refused(&set_irqs(TRIGGER | DATA_EVENTFD, ERR, 0, 0, &[]));
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for start in [0, 1] {
        let disable = set_irqs(TRIGGER | DATA_NONE, ERR, start, 0, &[]);
        assert!(client.request(SET_IRQS, &disable).ok().is_empty(), "from {start} on");
    }
}

#[test]
fn bool_data_of_another_length_is_refused() {
    refused(&set_irqs(TRIGGER | DATA_BOOL, ERR, 0, 1, &[]));
    refused(&set_irqs(TRIGGER | DATA_BOOL, ERR, 0, 1, &[1, 1]));
}

#[test]
fn descriptors_with_other_data_are_refused_and_closed() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let event = event();
    for (data, bytes) in [(DATA_NONE, &[][..]), (DATA_BOOL, &[1][..])] {
        let set = set_irqs(TRIGGER | data, ERR, 0, 1, bytes);
        assert_eq!(client.refused_with(SET_IRQS, &set, &[event.as_fd()]), Errno::INVAL);
    }
    assert_eq!(daemon.descriptors(), open);
}

#[test]
fn an_eventfd_is_kept_until_it_is_replaced_or_taken_away() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let event = event();
    let set = set_irqs(TRIGGER | DATA_EVENTFD, REQ, 0, 1, &[]);
    for _ in 0..3 {
        client.request_with(SET_IRQS, &set, &[event.as_fd()]).ok();
        assert_eq!(daemon.descriptors(), open + 1);
    }
    client.request(SET_IRQS, &set).ok();
    assert_eq!(daemon.descriptors(), open);
}

#[test]
fn descriptors_that_are_no_eventfds_are_refused_and_closed() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let open = daemon.descriptors();
    let set = set_irqs(TRIGGER | DATA_EVENTFD, REQ, 0, 1, &[]);
    for fd in [dev_null(), memory(4096)] {
        assert_eq!(client.refused_with(SET_IRQS, &set, &[fd.as_fd()]), Errno::INVAL);
    }
    assert_eq!(daemon.descriptors(), open);
}
