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

/// How the kernel begins a message about trouble, what comes later in the same line, and what it
/// means to a student. These are the exact forms of the kernels that the lab has: a driver's own
/// line may have such words, too.
struct Sign(&'static str, &'static str, Trouble, &'static str);

const FOLLOWS_NULL: &str = "the driver follows a pointer that is NULL";
const NOT_MAPPED: &str = "the driver reads or writes memory that is not there: a pointer that \
    nobody mapped (ioremap, pci_iomap), or that is freed already";
const WRONG_USE: &str = "the kernel found a wrong use of one of its functions";
const MISTAKE: &str = "the kernel found a mistake";
const FAILED: &str = "the driver made the kernel fail";
const ENDLESS: &str = "a loop in the driver does not end";
const WILD: &str = "the driver follows a pointer that is none";
const TWICE: &str = "something is given back more often than it was taken";
const CORRUPT: &str = "the driver overwrites memory that is not its own, or uses what is freed";

use Trouble::{Oops, Panic, Stall, Warning};
const SIGNS: &[Sign] = &[
    Sign("Kernel panic - not syncing: ", "", Panic, "the kernel gave up"),
    Sign(
        "BUG: scheduling while atomic: ",
        "/0x",
        Warning,
        "the driver sleeps (msleep, mutex_lock, copy_to_user, kmalloc(GFP_KERNEL), ...) where it \
         must not: under a spinlock or with preemption off",
    ),
    Sign(
        "BUG: sleeping function called from invalid context at ",
        "",
        Warning,
        "the driver calls a function that can sleep where it must not: under a spinlock",
    ),
    Sign("BUG: spinlock ", " on CPU#", Warning, "a spinlock is used before its init, or twice"),
    Sign("BUG: unable to handle page fault for address: 00007", "", Oops, PROGRAMS_POINTER),
    Sign("BUG: unable to handle page fault for address: 00005", "", Oops, PROGRAMS_POINTER),
    Sign("BUG: kernel NULL pointer dereference, address: ", "", Oops, FOLLOWS_NULL),
    Sign("BUG: unable to handle ", "", Oops, NOT_MAPPED),
    Sign("BUG: ", " stack guard page was hit at ", Oops, "the driver's stack is full: recursion?"),
    Sign("kernel BUG at ", "", Oops, "the kernel found itself in a state that cannot be"),
    Sign("general protection fault, ", " 0x", Oops, WILD),
    Sign("Oops: general protection fault", ": ", Oops, WILD),
    Sign("Oops: ", "[#", Oops, FAILED),
    Sign("invalid opcode: ", "[#", Oops, FAILED),
    Sign("watchdog: BUG: soft lockup - CPU#", " stuck for ", Stall, ENDLESS),
    Sign("rcu: INFO: ", "detected stall", Stall, ENDLESS),
    Sign("INFO: rcu_tasks", "detected stall", Stall, ENDLESS),
    Sign("INFO: task ", " blocked", Stall, "the driver waits for something that never comes"),
    Sign("refcount_t: ", ".", Warning, TWICE),
    Sign("list_add ", "=", Warning, CORRUPT),
    Sign("list_add corruption. ", " NULL.", Warning, CORRUPT),
    Sign("list_del corruption", "", Warning, CORRUPT),
    Sign("usercopy: Kernel memory ", " attempt detected ", Oops, CORRUPT),
    Sign("sysfs: cannot create duplicate filename \'", "", Warning, WRONG_USE),
    // WARN() of Linux 6.12, and of later ones.
    Sign("WARNING: CPU: ", " PID: ", Warning, WRONG_USE),
    Sign("WARNING: ", ", CPU#", Warning, WRONG_USE),
    Sign("BUG: Bad page ", " in process ", Warning, MISTAKE),
    Sign("BUG: Bad rss-counter state ", "", Warning, MISTAKE),
    Sign("BUG: KFENCE: ", " in ", Warning, CORRUPT),
    Sign("BUG: workqueue leaked ", "[", Warning, MISTAKE),
    Sign("BUG: using ", "() in preemptible ", Warning, MISTAKE),
    Sign("BUG ", "): ", Warning, CORRUPT),
    Sign("UBSAN: ", " in ", Warning, MISTAKE),
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
    let said = message(line)?;
    let fits = |Sign(begin, later, ..): &&Sign| {
        said.strip_prefix(begin).is_some_and(|rest| rest.contains(later))
    };
    let Sign(_, _, trouble, meaning) = SIGNS.iter().find(fits)?;
    let line = line.trim_end().to_owned();
    Some(Complaint { trouble: *trouble, meaning, line })
}

/// A line of the console without its time, `[    9.012345]`, and the caller that some kernels name
/// behind it, `[    T1]`.
fn message(line: &str) -> Option<&str> {
    let (_, mut said) = line.trim_start().strip_prefix('[')?.split_once(']')?;
    said = said.trim_start();
    if let Some((caller, rest)) = said.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        if caller.trim_start().starts_with(['T', 'C']) {
            said = rest.trim_start();
        }
    }
    Some(said.trim_end())
}

/// A log without what says the same again and again but for its numbers, and no more than so many
/// lines of it: a driver may print a line for each call.
#[must_use]
pub fn condensed(log: &str) -> String {
    const SHOWN: usize = 16;
    let alike = |line: &str| -> String {
        message(line).unwrap_or(line).chars().filter(|c| !c.is_ascii_hexdigit()).collect()
    };
    let mut shown: Vec<String> = Vec::new();
    let mut last = None;
    let mut more = 0;
    let mut lines = log.lines().map(str::trim_end).filter(|line| !line.is_empty());
    for line in lines.by_ref() {
        let form = alike(line);
        if last.as_ref() == Some(&form) {
            more += 1;
            continue;
        }
        add_count(&mut shown, std::mem::take(&mut more));
        if shown.len() >= SHOWN {
            let rest = lines.count() + 1;
            shown.push(format!("... and {rest} lines more"));
            return shown.join("\n");
        }
        shown.push(line.to_owned());
        last = Some(form);
    }
    add_count(&mut shown, more);
    shown.join("\n")
}

fn add_count(shown: &mut Vec<String>, more: usize) {
    if more > 0 {
        shown.push(format!("... and {more} more like it"));
    }
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
        let line = "[    9.0] BUG: scheduling while atomic: a/77/0x00000002";
        assert_eq!(worst(line).map(|found| found.trouble), Some(Trouble::Warning));
    }

    #[test]
    fn a_module_that_talks_is_no_trouble() {
        let log = "[ 5.0] my_rng: loading out-of-tree module taints kernel.\n[ 5.1] hello\n";
        assert_eq!(worst(log), None);
    }
    #[test]
    fn each_form_of_the_kernels_is_known() {
        for line in [
            "[    5.1] WARNING: CPU: 0 PID: 91 at kernel/module/main.c:1 f+0x1/0x2 [my_rng]",
            "[    5.1][   T91] WARNING: CPU: 0 PID: 91 at f+0x1/0x2 [my_rng]",
            "[    5.1] WARNING: fs/proc/generic.c:732 at f+0x1/0x2, CPU#1: rmmod/80",
            "[    5.1] kernel BUG at mm/slub.c:1!",
            "[    5.1] Oops: general protection fault, probably for non-canonical address 0x6b: 0000",
            "[    5.1] refcount_t: underflow; use-after-free.",
            "[   99.1] watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [a:1]",
            "[   99.1] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "[   99.1] rcu: INFO: rcu_preempt self-detected stall on CPU",
            "[  199.1] INFO: task a:1 blocked for more than 120 seconds.",
            "[    5.1] BUG: Bad page state in process a  pfn:00001",
            "[    5.1] list_del corruption. prev->next should be 1, but was 2. (prev=3)",
            "[    5.1] BUG kmalloc-64 (Tainted: G OE): Object already free",
        ] {
            assert!(worst(line).is_some(), "{line}");
        }
    }

    #[test]
    fn words_of_a_driver_are_not_the_kernels() {
        for line in [
            "[    5.1] my_rng: WARNING: unknown ioctl 77",
            "[    5.1] WARNING: unknown ioctl 77",
            "[    5.1] my_rng: BUG: this cannot be",
            "[    5.1] BUG: seed is 0",
            "[    5.1] Oops: forgot the seed",
            "[    5.1] my_rng: Kernel panic - not syncing: no",
            "[    5.1] my_rng: general protection fault in my head",
            "[    5.1] my_rng 0000:00:04.0: soft lockup avoided",
            "[    5.1] INFO: task done",
            "WARNING: CPU: 0 PID: 1 at a program's own words",
        ] {
            assert_eq!(worst(line), None, "{line}");
        }
    }

    #[test]
    fn lines_that_differ_in_numbers_alone_are_counted() {
        let draws: String =
            (0..200).map(|n| format!("[    5.{n}] my_rng: gave {n:#x}\n")).collect();
        let log = format!("[    5.0] my_rng: open\n{draws}[    6.0] my_rng: closed\n");
        let short = condensed(&log);
        assert_eq!(short.lines().count(), 4, "{short}");
        assert!(short.contains("... and 199 more like it"), "{short}");
        let many: String = (0..99).map(|n| format!("{}\n", "x".repeat(n + 1))).collect();
        assert!(condensed(&many).ends_with("... and 83 lines more"), "{}", condensed(&many));
    }
}
