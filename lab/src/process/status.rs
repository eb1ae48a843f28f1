//! What the kernel says of processes in `/proc/PID/status`.

use std::fs;
use std::str::FromStr;

/// The processes that can be seen, by their numbers, with their status files.
pub fn all() -> impl Iterator<Item = (u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        // It may have ended meanwhile.
        Some((number, fs::read_to_string(entry.path().join("status")).ok()?))
    })
}

/// The first word in a line of a status file.
pub fn word<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()
}

/// The same, as a number.
pub fn number<T: FromStr>(status: &str, name: &str) -> Option<T> {
    word(status, name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_status_file_are_found() {
        let status = "Name:\tcat\nPPid:\t17\nRssAnon:\t     128 kB\n";
        assert_eq!(word(status, "Name:"), Some("cat"));
        assert_eq!(number(status, "PPid:"), Some(17));
        assert_eq!(number(status, "RssAnon:"), Some(128));
        assert_eq!(number::<u64>(status, "RssShmem:"), None);
        assert_eq!(number::<u32>(status, "Name:"), None);
    }

    #[test]
    fn this_process_is_among_all() {
        let own = all().find(|(number, _)| *number == std::process::id());
        let (_, status) = own.expect("it runs");
        assert_eq!(number(&status, "Pid:"), Some(std::process::id()));
    }
}
