//! What the guest's kernel says on the console when something is wrong in it.

/// Something that a kernel log has when a driver is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The kernel complained and goes on.
    Warning,
    /// Something in it runs or waits for too long.
    Stall,
    /// It has killed who made it do something impossible; nothing in it can be trusted any more.
    Oops,
    /// It has given up.
    Panic,
}

/// What an address means that only programs have.
const PROGRAMS_POINTER: &str = "the driver follows the program's pointer itself: only \
    copy_from_user, copy_to_user, get_user and put_user may";

/// The words that each kind of trouble begins with, and what they mean to a student.
const SIGNS: [(&str, Trouble, &str); 18] = [
    ("Kernel panic", Trouble::Panic, "the kernel gave up"),
    (
        "BUG: scheduling while atomic",
        Trouble::Warning,
        "the driver sleeps (msleep, mutex_lock, copy_to_user, kmalloc(GFP_KERNEL), ...) where it \
         must not: under a spinlock or with preemption off",
    ),
    (
        "BUG: sleeping function called from invalid context",
        Trouble::Warning,
        "the driver calls a function that can sleep where it must not: under a spinlock",
    ),
    ("BUG: spinlock", Trouble::Warning, "a spinlock is used before spin_lock_init, or twice"),
    ("page fault for address: 00007", Trouble::Oops, PROGRAMS_POINTER),
    ("page fault for address: 00005", Trouble::Oops, PROGRAMS_POINTER),
    ("NULL pointer dereference", Trouble::Oops, "the driver follows a pointer that is NULL"),
    (
        "BUG: unable to handle",
        Trouble::Oops,
        "the driver reads or writes memory that is not there: a pointer that nobody mapped \
         (ioremap, pci_iomap), or that is freed already",
    ),
    ("kernel BUG at", Trouble::Oops, "the kernel found itself in a state that cannot be"),
    ("general protection fault", Trouble::Oops, "the driver follows a pointer that is none"),
    ("Oops:", Trouble::Oops, "the driver made the kernel fail"),
    ("invalid opcode:", Trouble::Oops, "the driver made the kernel fail"),
    ("soft lockup", Trouble::Stall, "a loop in the driver does not end"),
    ("detected stall", Trouble::Stall, "a loop in the driver does not end"),
    ("blocked for more than", Trouble::Stall, "the driver waits for something that never comes"),
    ("refcount_t:", Trouble::Warning, "something is given back more often than it was taken"),
    ("WARNING:", Trouble::Warning, "the kernel found a wrong use of one of its functions"),
    ("BUG:", Trouble::Warning, "the kernel found a mistake"),
];

/// A complaint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// How bad it is.
    pub trouble: Trouble,
    /// What it means.
    pub meaning: &'static str,
    /// The kernel's line.
    pub line: String,
}

/// All complaints in a log, in their order.
#[must_use]
pub fn complaints(log: &str) -> Vec<Complaint> {
    log.lines().filter_map(complaint).collect()
}

fn complaint(line: &str) -> Option<Complaint> {
    let (_, trouble, meaning) = SIGNS.iter().find(|(sign, _, _)| line.contains(sign))?;
    let line = line.trim_end().to_owned();
    Some(Complaint { trouble: *trouble, meaning, line })
}

/// The worst complaint of a log; of equally bad ones the first.
#[must_use]
pub fn worst(log: &str) -> Option<Complaint> {
    let mut worst: Option<Complaint> = None;
    for found in complaints(log) {
        if worst.as_ref().is_none_or(|worst| found.trouble > worst.trouble) {
            worst = Some(found);
        }
    }
    worst
}

/// The lines of a log around its complaint that are of use: where it happened, and who called.
#[must_use]
pub fn excerpt(log: &str) -> String {
    const SHOWN: usize = 24;
    let useful = |line: &&str| {
        !["Modules linked in", "Code:", "Hardware name", "CR2:", "PKRU", "Tainted:"]
            .iter()
            .any(|dull| line.contains(dull))
    };
    let from = log.lines().position(|line| complaint(line).is_some()).unwrap_or_default();
    log.lines().skip(from).filter(useful).take(SHOWN).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OOPS: &str = "\
        [    9.1] my_rng: loaded\n\
        [    9.2] BUG: kernel NULL pointer dereference, address: 0000000000000004\n\
        [    9.2] Oops: Oops: 0002 [#1] PREEMPT SMP NOPTI\n\
        [    9.2] RIP: 0010:my_init+0x12/0xfe0 [my_rng]\n";

    #[test]
    fn an_oops_is_worse_than_a_warning_and_the_first_line_of_it_explains_it() {
        let log = format!("[ 8.0] WARNING: CPU: 0 PID: 1 at mm/vmalloc.c:1\n{OOPS}");
        let worst = worst(&log).expect("it is an oops");
        assert_eq!(worst.trouble, Trouble::Oops);
        assert_eq!(worst.meaning, "the driver follows a pointer that is NULL");
        assert_eq!(complaints(&log).len(), 3);
        assert!(excerpt(OOPS).starts_with("[    9.2] BUG: kernel NULL"));
    }

    #[test]
    fn a_programs_pointer_is_known_by_its_address() {
        let line = "[ 5.6] BUG: unable to handle page fault for address: 00007fe7b85ec000";
        assert_eq!(worst(line).map(|found| found.meaning), Some(PROGRAMS_POINTER));
        let line = "[ 5.6] BUG: unable to handle page fault for address: ffffc90000010000";
        assert_ne!(worst(line).map(|found| found.meaning), Some(PROGRAMS_POINTER));
    }

    #[test]
    fn sleeping_under_a_spinlock_is_a_warning() {
        let line = "[ 9.0] BUG: scheduling while atomic: a/77/0x00000002";
        assert_eq!(worst(line).map(|found| found.trouble), Some(Trouble::Warning));
    }

    #[test]
    fn a_module_that_talks_is_no_trouble() {
        let log = "[ 5.0] my_rng: loading out-of-tree module taints kernel.\n[ 5.1] hello\n";
        assert_eq!(worst(log), None);
    }
}
