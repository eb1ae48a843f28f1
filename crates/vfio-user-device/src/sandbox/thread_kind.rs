//! A kind of thread, and the filter of its system calls.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};

use super::system_calls::{
    BASIC, Call, CallGroup, Condition, FILES, PROGRAM, REFUSED, SESSION_CALLS, THREADS,
};
use super::{STATUS, SandboxMode};

/// A kind of thread: what it is for, and what it may do.
#[derive(Debug)]
pub struct ThreadKind {
    /// What the threads are called.
    pub name: &'static str,
    /// What they do.
    pub task: &'static str,
    /// Their system calls.
    pub groups: &'static [&'static CallGroup],
    filters: OnceLock<Vec<BpfProgram>>,
}

/// The thread of a connected client.
pub static SESSION: ThreadKind = ThreadKind::new(
    "session",
    "serves one client: its messages, its guest's memory, the device",
    &[&BASIC, &SESSION_CALLS, &THREADS],
);

/// The thread that starts the program, accepts clients and starts another process in an exchange.
/// All others are started by it or by those that it starts, and can do what it can until they enter
/// a kind of their own.
pub static MAIN: ThreadKind = ThreadKind::new(
    "main",
    "starts everything, accepts clients, starts the new process of an exchange",
    &[&BASIC, &THREADS, &SESSION_CALLS, &FILES, &PROGRAM],
);

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

impl ThreadKind {
    /// A kind of thread that makes the system calls of these groups.
    pub const fn new(
        name: &'static str,
        task: &'static str,
        groups: &'static [&'static CallGroup],
    ) -> Self {
        ThreadKind { name, task, groups, filters: OnceLock::new() }
    }

    /// Makes the calling thread one of this kind, if this process has a sandbox. It keeps of its
    /// system calls only those that this kind has, too, for ever.
    pub fn enter(&'static self) {
        let Some(status) = STATUS.get().filter(|status| status.system_calls) else { return };
        if let Err(error) = self.install(status.mode) {
            log::error!(
                "a thread keeps the system calls of the program, not those of a {}: {error}",
                self.name
            );
        }
    }

    /// Calls that are answered with an error and do not end the process, because no group has them.
    pub fn refused(&self) -> impl Iterator<Item = &'static Call> {
        let allowed = self.rules();
        REFUSED.all().filter(move |call| !allowed.contains_key(&call.number))
    }

    /// Has the kernel filter the calls of all threads that there are.
    pub(super) fn install_everywhere(&self, mode: SandboxMode) -> Result<(), seccompiler::Error> {
        let filters = self.make_filters(mode)?;
        filters.iter().try_for_each(|filter| apply_filter_all_threads(filter))
    }

    /// Has the kernel filter the calling thread's calls.
    fn install(&'static self, mode: SandboxMode) -> Result<(), seccompiler::Error> {
        let filters = match self.filters.get() {
            Some(filters) => filters,
            None => {
                let made = self.make_filters(mode)?;
                self.filters.get_or_init(|| made)
            }
        };
        filters.iter().try_for_each(|filter| apply_filter(filter))
    }

    /// A filter that ends the process for all that is not allowed, and one for what is refused. Of
    /// two filters' decisions the kernel takes the stricter one.
    fn make_filters(&self, mode: SandboxMode) -> Result<Vec<BpfProgram>, BackendError> {
        let mut known = self.rules();
        let refused: Rules = self.refused().map(|call| (call.number, Vec::new())).collect();
        known.extend(refused.clone());
        let otherwise = match mode {
            SandboxMode::On => SeccompAction::KillProcess,
            SandboxMode::Log | SandboxMode::Off => SeccompAction::Log,
        };
        let processor = TargetArch::try_from(std::env::consts::ARCH)?;
        let allowed = SeccompFilter::new(known, otherwise, SeccompAction::Allow, processor)?;
        let mut filters = Vec::new();
        if mode == SandboxMode::On && !refused.is_empty() {
            let error = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
            let refused = SeccompFilter::new(refused, SeccompAction::Allow, error, processor)?;
            filters.push(BpfProgram::try_from(refused)?);
        }
        // The last one: it takes the right to install another.
        filters.push(BpfProgram::try_from(allowed)?);
        Ok(filters)
    }

    /// What is allowed. A call without rules may have any arguments.
    fn rules(&self) -> Rules {
        let mut rules = Rules::new();
        let mut unconditional = Vec::new();
        for call in self.groups.iter().flat_map(|group| group.all()) {
            let of_call = rules.entry(call.number).or_default();
            match call.condition.and_then(|condition| condition.rule()) {
                Some(rule) => of_call.push(rule),
                None => unconditional.push(call.number),
            }
        }
        for number in unconditional {
            rules.insert(number, Vec::new());
        }
        rules
    }
}

impl Condition {
    /// `None` for one that cannot be written as a rule, which no constant here is.
    fn rule(self) -> Option<SeccompRule> {
        let Condition { argument, mask, expected, .. } = self;
        let operator = SeccompCmpOp::MaskedEq(mask);
        let length = SeccompCmpArgLen::Dword;
        let condition = SeccompCondition::new(argument, length, operator, expected).ok()?;
        SeccompRule::new(vec![condition]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_condition_is_a_rule() {
        let conditional: Vec<_> = SESSION
            .groups
            .iter()
            .flat_map(|group| group.all())
            .filter_map(|c| c.condition)
            .collect();
        assert!(conditional.len() >= 4);
        assert!(conditional.into_iter().all(|condition| condition.rule().is_some()));
    }

    #[test]
    fn a_session_opens_no_file_and_starts_no_program() {
        let allowed = SESSION.rules();
        for number in [libc::SYS_openat, libc::SYS_execve, libc::SYS_socket, libc::SYS_ptrace] {
            assert!(!allowed.contains_key(&number), "{number}");
        }
        assert!(SESSION.refused().any(|call| call.description() == "openat"));
    }

    #[test]
    fn a_message_costs_no_look_at_arguments() {
        let allowed = SESSION.rules();
        for number in [libc::SYS_recvmsg, libc::SYS_sendmsg, libc::SYS_write] {
            assert_eq!(allowed.get(&number), Some(&Vec::new()));
        }
    }
}
