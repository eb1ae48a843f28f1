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
fn an_oops_of_an_arm64_kernel_is_explained_as_well() {
    let log = "[    9.2] Unable to handle kernel NULL pointer dereference at virtual address \
               0000000000000004\n\
               [    9.2] Mem abort info:\n\
               [    9.2] Internal error: Oops: 0000000096000044 [#1] SMP\n\
               [    9.2] pc : my_init+0x12/0xfe0 [my_rng]\n\
               [    9.2] x29: ffff800080c2bb80 x28: 0000000000000000\n";
    let found = worst(log).expect("it is an oops");
    assert_eq!((found.trouble, found.meaning), (Trouble::Oops, FOLLOWS_NULL));
    assert!(!excerpt(log).contains("x29"), "registers are of no use");
    let user = "[ 1.0] Unable to handle kernel access to user memory outside uaccess routines at \
                virtual address 0000ffffd8a3a2d4\n";
    assert_eq!(worst(user).expect("it is an oops").meaning, PROGRAMS_POINTER);
}

#[test]
fn what_an_unloaded_driver_left_registered_is_named() {
    let oops = |place: &str| {
        format!(
            "[   15.0] BUG: unable to handle page fault for address: ffffffffc0400168\n\
             [   15.0] #PF: supervisor read access in kernel mode\n\
             [   15.0] RIP: 0010:{place}+0x9/0x40\n[   15.0] RAX: 0 RBX: 0\n"
        )
    };
    let meaning = |place: &str| worst(&oops(place)).expect("it is an oops").meaning;
    assert!(meaning("misc_seq_show").contains("misc_deregister is missing"));
    assert!(meaning("ioread32").contains("pci_iomap"));
    assert_eq!(excerpt(&oops("misc_open")).lines().count(), 2, "registers are of no use");
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
    let draws: String = (0..200).map(|n| format!("[    5.{n}] my_rng: gave {n:#x}\n")).collect();
    let log = format!("[    5.0] my_rng: open\n{draws}[    6.0] my_rng: closed\n");
    let short = condensed(&log);
    assert_eq!(short.lines().count(), 4, "{short}");
    assert!(short.contains("... and 199 more like it"), "{short}");
    let many: String = (0..99).map(|n| format!("{}\n", "x".repeat(n + 1))).collect();
    assert!(condensed(&many).ends_with("... and 83 lines more"), "{}", condensed(&many));
}
