//! What a plain container allows, to try the lab as in one: Docker's by default, in which many
//! students and tests of others run. Its root lacks most capabilities, and no process makes namespaces
//! or mounts there.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result, anyhow};
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use crate::entry::filter::{Rules, program};

/// The capabilities that Docker leaves to root.
const CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                            +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";
/// What it refuses outright.
const REFUSED: [libc::c_long; 5] =
    [libc::SYS_unshare, libc::SYS_setns, libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root];
/// The flags of clone(2) that make namespaces.
const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// A command of the container's root; to be started in [`inside`].
#[must_use]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", CAPABILITIES, "--inh-caps", "-all", "--"]).arg(program);
    command
}

/// Does something in a thread of its own. What is started there is refused what a container refuses.
pub fn inside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
            // The C library goes on with clone(2) then.
            apply(clone3, libc::ENOSYS)?;
            apply(refused()?, libc::EPERM)?;
            work()
        });
        thread.join().map_err(|_| anyhow!("the container's thread has panicked"))?
    })
}

fn refused() -> Result<Rules> {
    let mut rules = BTreeMap::from(REFUSED.map(|call| (call, Vec::new())));
    let makes = |flag: i32| {
        let flag = u64::from(flag.unsigned_abs());
        let set = SeccompCmpOp::MaskedEq(flag);
        SeccompRule::new(vec![SeccompCondition::new(0, SeccompCmpArgLen::Qword, set, flag)?])
    };
    let clone = NAMESPACES.into_iter().map(makes).collect::<Result<_, _>>()?;
    rules.insert(libc::SYS_clone, clone);
    Ok(rules)
}

fn apply(rules: Rules, error: i32) -> Result<()> {
    seccompiler::apply_filter(&program(rules, error)?).context("cannot filter system calls")
}
