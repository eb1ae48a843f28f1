//! GET_INFO, GET_REGION_INFO, GET_IRQ_INFO of the device.

use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;

#[test]
fn device_info_has_nine_regions_and_five_irqs() {
    Daemon::start(&[]).client().assert_in_sync();
}

#[test]
fn larger_argsz_gets_the_same_answer() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for argsz in [17, 4096, u32::MAX] {
        assert_eq!(client.request(GET_INFO, &info(argsz)).ok().len(), 16);
        let region = client.request(GET_REGION_INFO, &region_info(argsz.max(33), 0)).ok();
        assert_eq!((region.len(), u32_at(&region, 0)), (32, 32));
        assert_eq!(client.request(GET_IRQ_INFO, &irq_info(argsz, 0)).ok().len(), 16);
    }
}

#[test]
fn smaller_argsz_is_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for argsz in [0, 1, 15] {
        assert_eq!(client.refused(GET_INFO, &info(argsz)), Errno::INVAL);
        assert_eq!(client.refused(GET_IRQ_INFO, &irq_info(argsz, 0)), Errno::INVAL);
        assert_eq!(client.refused(GET_REGION_INFO, &region_info(argsz + 16, 0)), Errno::INVAL);
    }
}

#[test]
fn short_payloads_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for length in [0, 4, 15] {
        assert_eq!(client.refused(GET_INFO, &info(16)[..length]), Errno::INVAL);
        assert_eq!(client.refused(GET_IRQ_INFO, &irq_info(16, 0)[..length]), Errno::INVAL);
        let region = &region_info(32, 0)[..length + 16];
        assert_eq!(client.refused(GET_REGION_INFO, region), Errno::INVAL);
    }
}

#[test]
fn bar_0_is_a_page_to_read_and_write_that_cannot_be_mapped() {
    let daemon = Daemon::start(&[]);
    let reply = daemon.client().request(GET_REGION_INFO, &region_info(32, 0));
    assert!(reply.fds.is_empty());
    assert_eq!(reply.ok(), Bytes::new().u32(32).u32(3).u32(0).u32(0).u64(4096).u64(0).0);
}

#[test]
fn configuration_space_is_256_bytes_to_read_and_write() {
    let daemon = Daemon::start(&[]);
    let info = daemon.client().request(GET_REGION_INFO, &region_info(32, 7)).ok();
    assert_eq!((u32_at(&info, 4), u64_at(&info, 16)), (3, 256));
}

#[test]
fn other_regions_are_empty_and_no_error() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for region in [1, 2, 3, 4, 5, 6, 8] {
        let info = client.request(GET_REGION_INFO, &region_info(32, region)).ok();
        assert_eq!(info, Bytes::new().u32(32).u32(0).u32(region).u32(0).u64(0).u64(0).0);
    }
}

#[test]
fn regions_and_irqs_that_do_not_exist_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for index in [9, 10, 0x7fff_ffff, u32::MAX] {
        assert_eq!(client.refused(GET_REGION_INFO, &region_info(32, index)), Errno::INVAL);
    }
    for index in [5, 6, u32::MAX] {
        assert_eq!(client.refused(GET_IRQ_INFO, &irq_info(16, index)), Errno::INVAL);
    }
}

#[test]
fn the_device_has_no_interrupts_but_error_and_request() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let counts = [INTX, MSI, MSIX, ERR, REQ].map(|index| {
        let info = client.request(GET_IRQ_INFO, &irq_info(16, index)).ok();
        assert_eq!((u32_at(&info, 0), u32_at(&info, 4) & 1, u32_at(&info, 8)), (16, 1, index));
        u32_at(&info, 12)
    });
    assert_eq!(counts, [0, 0, 0, 1, 1]);
}
