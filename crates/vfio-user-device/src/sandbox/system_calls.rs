//! The system calls that threads may make, in groups with a reason.

/// A system call, with what its arguments have to be.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    name: &'static str,
    /// As this processor counts.
    pub(super) number: i64,
    pub(super) condition: Option<Condition>,
}

/// A condition on one argument: `value & mask == expected`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Condition {
    pub argument: u8,
    pub mask: u64,
    pub expected: u64,
    what: &'static str,
}

/// Calls that are for the same thing.
#[derive(Debug)]
pub struct CallGroup {
    /// What it is called.
    pub name: &'static str,
    /// What they are for.
    pub reason: &'static str,
    /// The calls.
    pub calls: &'static [Call],
    /// Older forms of some of them, which not every processor has.
    pub old_forms: &'static [Call],
}

impl CallGroup {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Call> {
        self.calls.iter().chain(self.old_forms)
    }
}

impl Call {
    /// A call with any arguments.
    pub const fn new(name: &'static str, number: i64) -> Self {
        Call { name, number, condition: None }
    }

    /// The same call, if one argument is like this.
    pub(super) const fn when(
        self,
        argument: u8,
        mask: u64,
        expected: u64,
        what: &'static str,
    ) -> Self {
        Call { condition: Some(Condition { argument, mask, expected, what }), ..self }
    }

    /// Its name, with the condition.
    pub fn description(&self) -> String {
        let name = self.name.trim_start_matches("SYS_");
        self.condition.map_or(name.into(), |condition| format!("{name} ({})", condition.what))
    }
}

/// System calls by the names that libc has for their numbers.
#[doc(hidden)]
#[macro_export]
macro_rules! system_calls {
    ($($name:ident),* $(,)?) => {
        &[$($crate::sandbox::Call::new(stringify!($name), $crate::sandbox::libc::$name)),*]
    };
}
pub use system_calls as calls;

const EXECUTABLE: u64 = libc::PROT_EXEC as u64;
const THREAD: u64 = libc::CLONE_THREAD as u64;
// Another type with another C library.
#[allow(clippy::unnecessary_cast)]
const NO_WAIT: u64 = libc::FIONBIO as u64;
const SET_NAME: u64 = libc::PR_SET_NAME as u64;
const SET_VMA: u64 = libc::PR_SET_VMA as u64;

/// What every thread does.
pub static BASIC: CallGroup = CallGroup {
    name: "basic",
    reason: "memory that is never executable, locks, time, signals, descriptors, the log, the end",
    calls: &[
        Call::new("SYS_mmap", libc::SYS_mmap).when(2, EXECUTABLE, 0, "without PROT_EXEC"),
        Call::new("SYS_mprotect", libc::SYS_mprotect).when(2, EXECUTABLE, 0, "without PROT_EXEC"),
        Call::new("SYS_munmap", libc::SYS_munmap),
        Call::new("SYS_mremap", libc::SYS_mremap),
        Call::new("SYS_madvise", libc::SYS_madvise),
        Call::new("SYS_brk", libc::SYS_brk),
        Call::new("SYS_futex", libc::SYS_futex),
        Call::new("SYS_sched_yield", libc::SYS_sched_yield),
        Call::new("SYS_sched_getaffinity", libc::SYS_sched_getaffinity),
        Call::new("SYS_clock_gettime", libc::SYS_clock_gettime),
        Call::new("SYS_gettimeofday", libc::SYS_gettimeofday),
        Call::new("SYS_clock_nanosleep", libc::SYS_clock_nanosleep),
        Call::new("SYS_nanosleep", libc::SYS_nanosleep),
        Call::new("SYS_restart_syscall", libc::SYS_restart_syscall),
        Call::new("SYS_rt_sigaction", libc::SYS_rt_sigaction),
        Call::new("SYS_rt_sigprocmask", libc::SYS_rt_sigprocmask),
        Call::new("SYS_rt_sigreturn", libc::SYS_rt_sigreturn),
        Call::new("SYS_sigaltstack", libc::SYS_sigaltstack),
        Call::new("SYS_tgkill", libc::SYS_tgkill),
        Call::new("SYS_getpid", libc::SYS_getpid),
        Call::new("SYS_gettid", libc::SYS_gettid),
        Call::new("SYS_getrandom", libc::SYS_getrandom),
        Call::new("SYS_read", libc::SYS_read),
        Call::new("SYS_write", libc::SYS_write),
        Call::new("SYS_writev", libc::SYS_writev),
        Call::new("SYS_sendto", libc::SYS_sendto),
        Call::new("SYS_recvfrom", libc::SYS_recvfrom),
        Call::new("SYS_ppoll", libc::SYS_ppoll),
        Call::new("SYS_close", libc::SYS_close),
        Call::new("SYS_fcntl", libc::SYS_fcntl),
        Call::new("SYS_fstat", libc::SYS_fstat),
        Call::new("SYS_newfstatat", libc::SYS_newfstatat),
        Call::new("SYS_statx", libc::SYS_statx),
        Call::new("SYS_exit", libc::SYS_exit),
        Call::new("SYS_exit_group", libc::SYS_exit_group),
    ],
    #[cfg(target_arch = "x86_64")]
    old_forms: calls![SYS_poll, SYS_time, SYS_stat, SYS_lstat],
    #[cfg(not(target_arch = "x86_64"))]
    old_forms: &[],
};

/// A thread that starts others.
pub static THREADS: CallGroup = CallGroup {
    name: "threads",
    reason: "threads, and no processes",
    calls: &[
        Call::new("SYS_clone", libc::SYS_clone).when(0, THREAD, THREAD, "with CLONE_THREAD"),
        Call::new("SYS_prctl", libc::SYS_prctl).when(0, u64::MAX, SET_NAME, "PR_SET_NAME"),
        Call::new("SYS_prctl", libc::SYS_prctl).when(0, u64::MAX, SET_VMA, "PR_SET_VMA"),
        Call::new("SYS_set_robust_list", libc::SYS_set_robust_list),
        Call::new("SYS_rseq", libc::SYS_rseq),
    ],
    old_forms: &[],
};

/// What a session needs beside [`BASIC`].
pub static SESSION_CALLS: CallGroup = CallGroup {
    name: "session",
    reason: "the client's messages, guest memory, eventfds",
    calls: calls![
        SYS_recvmsg,
        SYS_sendmsg,
        SYS_recvmmsg,
        SYS_sendmmsg,
        SYS_shutdown,
        SYS_socketpair,
        SYS_getsockopt,
        SYS_setsockopt,
        SYS_pread64,
        SYS_pwrite64,
        SYS_lseek,
        SYS_fstatfs,
        SYS_memfd_create,
        SYS_ftruncate,
        SYS_eventfd2,
        SYS_readlinkat,
    ],
    #[cfg(target_arch = "x86_64")]
    old_forms: calls![SYS_readlink],
    #[cfg(not(target_arch = "x86_64"))]
    old_forms: &[],
};

/// Files and sockets by their names.
pub static FILES: CallGroup = CallGroup {
    name: "files",
    reason: "files and sockets by their names",
    calls: calls![
        SYS_openat,
        SYS_readlinkat,
        SYS_faccessat,
        SYS_faccessat2,
        SYS_getcwd,
        SYS_lseek,
        SYS_pread64,
        SYS_getdents64,
        SYS_ioctl,
        SYS_statfs,
        SYS_fstatfs,
        SYS_fadvise64,
        SYS_flock,
        SYS_fchmod,
        SYS_fchmodat,
        SYS_unlinkat,
        SYS_renameat2,
        SYS_fsync,
        SYS_fdatasync,
        SYS_ftruncate,
        SYS_socket,
        SYS_bind,
        SYS_listen,
        SYS_connect,
        SYS_getsockname,
        SYS_getpeername,
        SYS_getsockopt,
        SYS_setsockopt,
        SYS_accept4,
        SYS_recvmsg,
        SYS_sendmsg,
        SYS_sendmmsg,
        SYS_shutdown,
        SYS_socketpair,
        SYS_pipe2,
        SYS_eventfd2,
        SYS_epoll_create1,
        SYS_epoll_ctl,
        SYS_epoll_pwait,
        SYS_timerfd_create,
        SYS_timerfd_settime,
        SYS_getuid,
        SYS_geteuid,
        SYS_getgid,
        SYS_getegid,
        SYS_uname,
        SYS_prlimit64,
    ],
    #[cfg(target_arch = "x86_64")]
    old_forms: calls![
        SYS_open,
        SYS_readlink,
        SYS_access,
        SYS_unlink,
        SYS_rename,
        SYS_renameat,
        SYS_chmod,
        SYS_pipe,
        SYS_epoll_wait,
        SYS_getrlimit,
        SYS_setrlimit,
    ],
    #[cfg(target_arch = "aarch64")]
    old_forms: calls![SYS_renameat],
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    old_forms: &[],
};

/// What the program as a whole does, and no session: it is exchanged, that is, it starts another
/// process, which begins in the same sandbox.
pub static PROGRAM: CallGroup = CallGroup {
    name: "program",
    reason: "threads of all kinds; an exchange: the new process, its program and libraries",
    calls: calls![
        SYS_execve,
        SYS_clone,
        SYS_clone3,
        SYS_wait4,
        SYS_waitid,
        SYS_rt_sigtimedwait,
        SYS_kill,
        SYS_pidfd_open,
        SYS_pidfd_send_signal,
        SYS_dup,
        SYS_dup3,
        SYS_chdir,
        SYS_setpgid,
        SYS_mmap,
        SYS_mprotect,
        SYS_memfd_create,
        SYS_pwrite64,
        SYS_readv,
        SYS_set_tid_address,
        SYS_set_robust_list,
        SYS_rseq,
        SYS_membarrier,
        SYS_sysinfo,
        SYS_getppid,
        SYS_getpgid,
        SYS_seccomp,
        SYS_prctl,
        SYS_landlock_create_ruleset,
        SYS_landlock_add_rule,
        SYS_landlock_restrict_self,
    ],
    #[cfg(target_arch = "x86_64")]
    old_forms: calls![SYS_arch_prctl, SYS_vfork, SYS_fork, SYS_dup2, SYS_getpgrp],
    #[cfg(not(target_arch = "x86_64"))]
    old_forms: &[],
};

/// A socket that is to wait, or not to wait.
pub static NON_BLOCKING: CallGroup = CallGroup {
    name: "waiting",
    reason: "sockets that wait, or do not",
    calls: &[
        Call::new("SYS_ioctl", libc::SYS_ioctl).when(1, u64::MAX, NO_WAIT, "FIONBIO"),
        Call::new("SYS_setsockopt", libc::SYS_setsockopt),
        Call::new("SYS_getsockopt", libc::SYS_getsockopt),
    ],
    old_forms: &[],
};

/// What the C library asks for in a thread that has no right to it, and does without.
pub static REFUSED: CallGroup = CallGroup {
    name: "refused",
    reason: "answered with ENOSYS: the C library, and a panic's backtrace, go on without",
    calls: calls![
        SYS_openat,
        SYS_clone3,
        SYS_getcwd,
        SYS_readlinkat,
        SYS_faccessat,
        SYS_ioctl,
        SYS_uname,
    ],
    #[cfg(target_arch = "x86_64")]
    old_forms: calls![SYS_open, SYS_readlink, SYS_access],
    #[cfg(not(target_arch = "x86_64"))]
    old_forms: &[],
};
