//! SET_IRQS as it is accepted, and as it is rejected.

use proptest::prelude::*;
use rustix::io::Errno;

use super::*;
use crate::protocol::request::tests::checks_argsz;

#[test]
fn short_payloads_and_argsz_are_rejected() {
    checks_argsz("irq_info", |payload| parse_irq_info(payload).is_ok(), 16);
}

/// SET_IRQS with three MSI-X vectors and one pin.
fn irqs(set: IrqSet, data: usize, fds: usize) -> Result<(), Errno> {
    let fd = || std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let fds = MessageFds { fds: (0..fds).map(|_| fd()).collect(), ..MessageFds::default() };
    let payload = [set.as_bytes(), &vec![1; data]].concat();
    let available = |index| match index {
        IrqIndex::Msix => 3,
        IrqIndex::Msi => 0,
        _ => 1,
    };
    parse_set_irqs(&payload, &fds, available).map(|_| ()).map_err(|error| error.errno())
}

#[test]
fn set_irqs_follows_its_rules() {
    let set = |flags, index, start, count| IrqSet { argsz: 20, flags, index, start, count };
    let (none, boolean, eventfd) = (1, 2, 4);
    let (mask, unmask, trigger) = (8, 16, 32);
    let (intx, msi, msix, error, request) = (0, 1, 2, 3, 4);
    let fine = [
        (set(trigger | none, msix, 0, 0), 0, 0),
        (set(trigger | none, msix, 1, 0), 0, 0),
        (set(trigger | none, msix, u32::MAX, 0), 0, 0),
        (set(trigger | none, msix, 0, 3), 0, 0),
        (set(trigger | eventfd, msix, 1, 2), 0, 2),
        (set(trigger | eventfd, msix, 1, 2), 0, 0),
        (set(trigger | boolean, msix, 2, 1), 1, 0),
        (set(mask | none, msix, 0, 3), 0, 0),
        (set(unmask | boolean, intx, 0, 1), 1, 0),
        (set(unmask | eventfd, intx, 0, 1), 0, 1),
        (set(trigger | eventfd, error, 0, 1), 0, 1),
        (set(trigger | eventfd, request, 0, 1), 0, 1),
    ];
    for (set, data, fds) in fine {
        assert_eq!(irqs(set, data, fds), Ok(()), "{set:?}");
    }
    let wrong = [
        (IrqSet { argsz: 19, ..set(trigger | none, msix, 0, 0) }, 0, 0),
        (set(trigger | none, 5, 0, 0), 0, 0),
        (set(trigger | none, u32::MAX, 0, 0), 0, 0),
        (set(mask | unmask | none, msix, 0, 1), 0, 0),
        (set(trigger | none | boolean, msix, 0, 1), 1, 0),
        (set(trigger, msix, 0, 1), 0, 0),
        (set(none, msix, 0, 1), 0, 0),
        (set(64 | trigger | none, msix, 0, 1), 0, 0),
        (set(trigger | none, msi, 0, 0), 0, 0),
        (set(trigger | none, msix, 0, 4), 0, 0),
        (set(trigger | none, msix, 1, u32::MAX), 0, 0),
        (set(trigger | none, msix, u32::MAX, 1), 0, 0),
        (set(mask | none, error, 0, 1), 0, 0),
        (set(trigger | eventfd, request, 0, 2), 0, 2),
        (set(mask | none, msix, 0, 0), 0, 0),
        (set(trigger | eventfd, msix, 0, 0), 0, 0),
        (set(trigger | boolean, msix, 0, 2), 1, 0),
        (set(trigger | boolean, msix, 0, 2), 3, 0),
        (set(trigger | none, msix, 0, 1), 0, 1),
        (set(trigger | boolean, msix, 0, 1), 1, 1),
        (set(trigger | eventfd, msix, 0, 2), 0, 1),
        (set(trigger | eventfd, msix, 0, 2), 0, 3),
        (set(mask | eventfd, intx, 0, 1), 0, 1),
        (set(unmask | eventfd, msix, 0, 1), 0, 1),
    ];
    for (set, data, fds) in wrong {
        assert_eq!(irqs(set, data, fds), Err(Errno::INVAL), "{set:?} {data} {fds}");
    }
}

proptest! {
    #[test]
    fn any_payload_is_accepted_or_rejected(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(request) = parse_set_irqs(&payload, &MessageFds::default(), |_| 3) {
            prop_assert!(request.vectors().all(|vector| vector < 3));
        }
    }
}
