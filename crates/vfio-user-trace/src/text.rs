//! Lines for people.

use crate::Trace;
use crate::entry::Entry;

/// A line for each entry: seconds since the beginning of the file, the session where there are several,
/// what happened, and how long the answer took.
#[must_use]
pub fn write(trace: &Trace, entries: &[&Entry]) -> String {
    let several = trace.file.sessions() > 1;
    let mut text: String = entries.iter().map(|entry| line(entry, several)).collect();
    if let Some(damage) = &trace.file.damage {
        text += &format!("the recording is not whole: {damage}\n");
    }
    text
}

fn line(entry: &Entry, with_session: bool) -> String {
    let session = if with_session { format!(" {:>3}", entry.session) } else { String::new() };
    let took = |ns| format!("  ({}.{} us)", ns / 1000, ns % 1000 / 100);
    let took = entry.duration.map_or(String::new(), took);
    format!("{}{session}  {entry}{took}\n", seconds(entry.time))
}

/// Nanoseconds as seconds with six digits.
fn seconds(time: u64) -> String {
    format!("{:>5}.{:06}", time / 1_000_000_000, time % 1_000_000_000 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    #[test]
    fn lines_have_time_name_value_and_duration() {
        let trace = examples::trace();
        let entries: Vec<&Entry> = trace.entries.iter().skip(3).take(2).collect();
        assert_eq!(
            write(&trace, &entries),
            "    0.003000  SEED write 4 <- 0x7  (1.5 us)\n    0.004000  RANDOM read 4 -> 0x2a  (1.5 us)\n"
        );
    }
}
