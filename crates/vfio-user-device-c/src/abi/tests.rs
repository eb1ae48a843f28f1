use std::mem::{offset_of, size_of};

use super::*;

/// A configuration as a program of any version has it: as many bytes as it says.
fn copied(size: usize, bytes: &[(usize, u8)]) -> Result<CConfig, String> {
    let mut memory = vec![0_u8; size.max(size_of::<usize>()) + 64];
    memory[..size_of::<usize>()].copy_from_slice(&size.to_ne_bytes());
    for (offset, byte) in bytes {
        memory[*offset] = *byte;
    }
    // SAFETY: there are more bytes than it says.
    unsafe { copy(memory.as_ptr().cast::<CConfig>()) }
}

const VENDOR: usize = offset_of!(CConfig, vendor_id);
const COUNT: usize = offset_of!(CConfig, capability_count);

#[test]
fn members_that_an_older_program_does_not_know_are_zero() {
    let config = copied(COUNT, &[(VENDOR, 7), (COUNT, 9)]).unwrap();
    assert_eq!((config.vendor_id, config.capability_count), (7, 0));
}

#[test]
fn members_of_a_newer_program_have_to_be_zero() {
    let size = size_of::<CConfig>();
    assert_eq!(copied(size + 8, &[(VENDOR, 7)]).unwrap().vendor_id, 7);
    let error = copied(size + 8, &[(size + 3, 1)]).unwrap_err();
    assert!(error.ends_with("are set; this library is older"), "{error}");
}

#[test]
fn a_size_that_was_not_set_is_rejected() {
    for size in [0, 7, 1 << 20] {
        let error = copied(size, &[]).unwrap_err();
        assert!(error.contains(&format!("struct_size is {size}; set it to sizeof")), "{error}");
    }
    // SAFETY: null is allowed.
    let error = unsafe { copy(ptr::null::<COps>()) }.unwrap_err();
    assert_eq!(error, "no struct vfio_user_ops; pass the address of one");
}

#[test]
fn invalid_bars_are_rejected_by_number() {
    let mut config = copied(size_of::<CConfig>(), &[]).unwrap();
    config.bars[3].kind = 9;
    // SAFETY: it has no capabilities.
    let error = unsafe { config.device_config() }.unwrap_err();
    assert_eq!(error, "BAR 3: invalid kind: 9; expected VFIO_USER_BAR_...");
    config.bars[3].kind = bar_kind::IO;
    config.bars[3].max_access_width = 3;
    // SAFETY: as above.
    let error = unsafe { config.device_config() }.unwrap_err();
    assert_eq!(error, "BAR 3: invalid max_access_width: 3; expected one of 1, 2, 4, 8");
}
