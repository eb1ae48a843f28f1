//! What the guest's kernel says on the console when something is wrong in it.

/// Something that a kernel log has when a driver is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The kernel complained and goes on.
    Warning,
    /// Something in it runs or waits for too long.
    Stall,
    /// It has killed the process that it failed in; nothing in it can be trusted any more.
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
const NOT_MAPPED: &str = "the driver reads or writes memory that is not there: a pointer that was \
    never mapped (ioremap, pci_iomap), or that is freed already";
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
    // The same on arm64.
    Sign("Unable to handle kernel NULL pointer dereference at ", "", Oops, FOLLOWS_NULL),
    Sign("Unable to handle kernel access to user memory outside ", "", Oops, PROGRAMS_POINTER),
    Sign("Unable to handle kernel ", " at virtual address ", Oops, NOT_MAPPED),
    Sign("Internal error: Oops", "[#", Oops, FAILED),
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

impl Complaint {
    /// The kernel's line without its time.
    #[must_use]
    pub fn said(&self) -> &str {
        message(&self.line).unwrap_or(self.line.trim())
    }
}

const CHARACTER_DEVICE_LEFT: &str = "the driver is unloaded, and its character device is still \
    registered: cdev_del or unregister_chrdev is missing";

/// Functions of the kernel that meet what an unloaded driver has left registered, by how their names
/// begin, and what the driver has forgotten.
const LEFT_BEHIND: &[(&str, &str)] = &[
    (
        "misc_",
        "the driver is unloaded, and its misc device is still registered: misc_deregister is \
        missing, in remove or in the exit function",
    ),
    ("chrdev_open", CHARACTER_DEVICE_LEFT),
    ("cdev_", CHARACTER_DEVICE_LEFT),
    (
        "bus_for_each_drv",
        "the driver is unloaded, and still registered with the PCI bus: \
        pci_unregister_driver is missing",
    ),
    (
        "__handle_irq_event_percpu",
        "the driver is unloaded, and its interrupt handler is still \
        registered: free_irq is missing",
    ),
    (
        "call_timer_fn",
        "the driver is unloaded, and its timer is still running: timer_delete_sync is \
        missing",
    ),
    (
        "process_one_work",
        "the driver is unloaded, and its work is still queued: cancel_work_sync is \
        missing",
    ),
];

/// How far behind the first line of an oops the kernel says where it happened.
const TRACE_LINES: usize = 12;

/// All complaints in a log, in their order.
#[must_use]
pub fn complaints(log: &str) -> Vec<Complaint> {
    let lines: Vec<&str> = log.lines().collect();
    let found = |(at, line): (usize, &&str)| {
        let mut found = complaint(line)?;
        if found.meaning == NOT_MAPPED {
            let trace = lines[at..].iter().take(TRACE_LINES).filter_map(|line| message(line));
            let place = trace.filter_map(place).next();
            let left =
                LEFT_BEHIND.iter().find(|(name, _)| place.is_some_and(|it| it.starts_with(name)));
            found.meaning = left.map_or(NOT_MAPPED, |(_, meaning)| meaning);
        }
        Some(found)
    };
    lines.iter().enumerate().filter_map(found).collect()
}

/// Where the processor was, in a line of an x86-64 or an arm64 kernel.
fn place(said: &str) -> Option<&str> {
    ["RIP: 0010:", "pc : "].iter().find_map(|begin| said.strip_prefix(begin))
}

fn complaint(line: &str) -> Option<Complaint> {
    let said = message(line)?;
    let fits = |Sign(begin, later, ..): &&Sign| {
        said.strip_prefix(begin).is_some_and(|rest| rest.contains(later))
    };
    let Sign(_, _, trouble, meaning) = SIGNS.iter().find(fits)?;
    Some(Complaint { trouble: *trouble, meaning, line: line.trim_end().to_owned() })
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
    let form = |line: &str| -> String {
        message(line).unwrap_or(line).chars().filter(|c| !c.is_ascii_hexdigit()).collect()
    };
    let lines = log.lines().map(str::trim_end).filter(|line| !line.is_empty());
    let lines: Vec<&str> = lines.collect();
    let mut shown: Vec<String> = Vec::new();
    let mut told = 0;
    for group in lines.chunk_by(|one, other| form(one) == form(other)) {
        if shown.len() >= SHOWN {
            shown.push(format!("... and {} lines more", lines.len() - told));
            break;
        }
        shown.push(group[0].to_owned());
        if group.len() > 1 {
            shown.push(format!("... and {} more like it", group.len() - 1));
        }
        told += group.len();
    }
    shown.join("\n")
}

/// The worst complaint of a log; of equally bad ones the first.
#[must_use]
pub fn worst(log: &str) -> Option<Complaint> {
    // `max_by_key` takes the last.
    complaints(log).into_iter().rev().max_by_key(|found| found.trouble)
}

/// What is in the lines of a complaint that are of no use.
const DULL: [&str; 4] = ["Modules linked in", "Code:", "Hardware name", "Tainted:"];
/// The same in lines with registers and page tables, of x86-64 and then of arm64.
const REGISTERS: [&str; 24] = [
    "CR2:", "PKRU", "#PF:", "PGD ", "RSP: ", "RAX: ", "RDX: ", "RBP: ", "R10: ", "R13: ", "FS: ",
    "CS: ", "pstate: ", "sp : ", "x29: ", "x26: ", "x23: ", "x20: ", "x17: ", "x14: ", "x11: ",
    "x8 : ", "x5 : ", "x2 : ",
];

/// The lines of a log around its complaint that are of use: where it happened, and who called.
#[must_use]
pub fn excerpt(log: &str) -> String {
    const SHOWN: usize = 24;
    let useful = |line: &&str| {
        let said = message(line).unwrap_or(line);
        // What begins with a question mark is only guessed.
        !said.starts_with("? ") && !DULL.iter().chain(&REGISTERS).any(|dull| said.contains(dull))
    };
    let from = log.lines().position(|line| complaint(line).is_some()).unwrap_or_default();
    log.lines().skip(from).filter(useful).take(SHOWN).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
