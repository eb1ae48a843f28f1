//! A filter of system calls for what runs under proot.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Calls that take paths and that Debian's proot does not know: with them a program would see this
/// system's files. Without them it uses older ones. The last one makes sockets, too.
const UNKNOWN: [libc::c_long; 7] = [
    libc::SYS_statx,
    libc::SYS_openat2,
    libc::SYS_faccessat2,
    libc::SYS_fchmodat2,
    libc::SYS_execveat,
    libc::SYS_renameat2,
    libc::SYS_io_uring_setup,
];

/// The filter, as the kernel takes it: it has no call that proot does not know, and no sockets but
/// Unix's, so that there is no network.
pub fn filter() -> Result<Vec<u8>> {
    let unix = u64::try_from(libc::AF_UNIX).context("the number of a family is positive")?;
    let other = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, unix)?;
    let mut rules = BTreeMap::from(UNKNOWN.map(|call| (call, Vec::new())));
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(vec![other])?]);
    let program = program(rules, libc::ENOSYS)?;
    // struct sock_filter of linux/filter.h
    let instructions = program.iter().flat_map(|instruction| {
        let [low, high] = instruction.code.to_ne_bytes();
        let [a, b, c, d] = instruction.k.to_ne_bytes();
        [low, high, instruction.jt, instruction.jf, a, b, c, d]
    });
    Ok(instructions.collect())
}

/// Calls, and with which arguments.
pub type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A filter that refuses calls with an error.
pub fn program(rules: Rules, error: i32) -> Result<BpfProgram> {
    let machine = std::env::consts::ARCH.try_into()?;
    let refused = SeccompAction::Errno(error.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, machine)?;
    Ok(filter.try_into()?)
}
