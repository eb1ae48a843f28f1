//! Code that only the start of a program needs.
//!
//! Most of a program is for its command line and its files: none of that runs again while it
//! serves. The kernel has it mapped all the same, in steps of 64 KiB around whatever was used, and
//! counts it to the process for good. A host with many small servers would rather have the memory.

use std::fs;

use rustix::mm::{Advice, madvise};

/// Unmaps the pages of all code. Those that are needed again come back by themselves, from the
/// kernel's page cache.
pub(super) fn leave_to_the_page_cache() {
    let Ok(maps) = fs::read_to_string("/proc/self/maps") else { return };
    for (start, length) in maps.lines().filter_map(code_of_a_file) {
        // SAFETY: the pages can be executed and not written, and are those of a file, so that what
        // is read from them afterwards is what was there before.
        let given = unsafe { madvise(start as *mut _, length, Advice::LinuxDontNeed) };
        if let Err(errno) = given {
            log::debug!("code stays in memory: {errno}");
        }
    }
}

/// Address and length of a line of /proc/PID/maps, if it is for unchangeable code of a file.
fn code_of_a_file(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let permissions = words.next()?;
    let path = words.nth(3)?;
    if permissions != "r-xp" || !path.starts_with('/') {
        return None;
    }
    let number = |text| usize::from_str_radix(text, 16).ok();
    let start = number(start)?;
    Some((start, number(end)?.checked_sub(start)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unchangeable_code_of_files_is_found() {
        let line = "5594a0fcf000-5594a1260000 r-xp 000cf000 fe:01 123  /usr/bin/my-rng-server";
        assert_eq!(code_of_a_file(line), Some((0x5594_a0fc_f000, 0x29_1000)));
        for other in [
            "7ffd0b5f2000-7ffd0b5f4000 r-xp 00000000 00:00 0   [vdso]",
            "5594a0fcf000-5594a1260000 rw-p 000cf000 fe:01 123  /usr/bin/my-rng-server",
            "5594a0fcf000-5594a1260000 rwxp 000cf000 fe:01 123  /usr/bin/my-rng-server",
            "5594a0fcf000-5594a1260000 r-xp 00000000 00:00 0",
            "",
            "nonsense",
        ] {
            assert_eq!(code_of_a_file(other), None, "{other}");
        }
    }

    #[test]
    fn code_that_is_needed_again_comes_back() {
        let resident = || {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        let before = resident();
        leave_to_the_page_cache();
        let after = resident();
        assert!(after < before, "{after} KiB of files, {before} KiB before");
    }
}
