//! Questions that are accepted, and those that are rejected.

use super::*;
use crate::protocol::request::tests::checks_argsz;

#[test]
fn short_payloads_and_argsz_are_rejected() {
    use RequestError::NotOffered;
    checks_argsz("device_info", |payload| device_info(payload, &mut Vec::new()).is_ok(), 16);
    checks_argsz("region_info", |payload| parse_region_info(payload).is_ok(), 32);
    checks_argsz("io_fds", |payload| matches!(region_io_fds(payload), Err(NotOffered(_))), 16);
}
