//! Commands that are not offered, or not a client's to send.

use rustix::io::Errno;

use crate::common::*;
use crate::daemon::Daemon;

#[test]
fn reset_succeeds_with_a_header() {
    let daemon = Daemon::start(&[]);
    assert!(daemon.client().request(DEVICE_RESET, &[]).ok().is_empty());
}

#[test]
fn features_that_vfio_user_does_not_have_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for feature in [0, 3, 0xffff, 0x1_0003, 0x4_0004, 0x7_0000, u32::MAX] {
        let payload = Bytes::new().u32(8).u32(feature).0;
        assert_eq!(client.refused(DEVICE_FEATURE, &payload), Errno::INVAL);
        assert_eq!(client.refused(DEVICE_FEATURE, &payload[..7]), Errno::INVAL);
    }
}

#[test]
fn io_fds_are_not_offered() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    let ask =
        |argsz, flags, index, count| Bytes::new().u32(argsz).u32(flags).u32(index).u32(count).0;
    assert_eq!(client.refused(GET_REGION_IO_FDS, &ask(16, 0, 0, 0)), Errno::NOTSUP);
    for wrong in [ask(15, 0, 0, 0), ask(16, 1, 0, 0), ask(16, 0, 9, 0), ask(16, 0, 0, 1)] {
        assert_eq!(client.refused(GET_REGION_IO_FDS, &wrong), Errno::INVAL);
    }
}

#[test]
fn migration_data_of_a_device_that_works_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for command in [MIG_DATA_READ, MIG_DATA_WRITE] {
        let payload = Bytes::new().u32(8).u32(0).0;
        assert_eq!(client.refused(command, &payload), Errno::INVAL);
        assert_eq!(client.refused(command, &payload[..7]), Errno::INVAL);
    }
}

#[test]
fn dma_commands_of_a_client_are_refused() {
    let daemon = Daemon::start(&[]);
    let mut client = daemon.client();
    for command in [DMA_READ, DMA_WRITE] {
        assert_eq!(client.refused(command, &Bytes::new().u64(0).u64(4).0), Errno::INVAL);
    }
}
