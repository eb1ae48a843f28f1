//! One page with a timeline. It needs nothing from anywhere else.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::iter;

use serde::Serialize;

use crate::Trace;
use crate::entry::{Access, Entry, Kind};

const PAGE: &str = include_str!("timeline.html");
/// What stands in the page where the data go.
const PLACE: &str = "\"DATA\"";
/// Most lanes. What is in none of them is in a lane for its kind.
const MAX_LANES: usize = 48;
/// The name of such a lane.
const OTHERS: &str = "others";

/// What the page is given: columns, because rows would be three times as long.
#[derive(Serialize)]
struct Data<'t> {
    title: &'t str,
    lanes: Vec<Lane<'t>>,
    /// Nanoseconds since the entry before.
    times: Vec<u64>,
    lane: Vec<usize>,
    /// 0 is read, 1 written, 2 neither.
    access: Vec<u8>,
    session: Vec<u32>,
    /// Name and value where they are not the lane's name.
    text: Vec<String>,
    took: Vec<u32>,
    /// 1 for what failed, by place.
    failed: Vec<usize>,
    damage: Option<&'t str>,
}

/// Name and kind.
type Lane<'t> = (&'t str, Kind);

/// A page with these entries.
#[must_use]
pub fn write(trace: &Trace, entries: &[&Entry], title: &str) -> String {
    let data = Data::of(trace, entries, title);
    // In a script, a `<` could end it.
    let json = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
    let (before, behind) = PAGE.split_once(PLACE).unwrap_or((PAGE, ""));
    format!("{before}{json}{behind}")
}

impl<'t> Data<'t> {
    fn of(trace: &'t Trace, entries: &[&'t Entry], title: &'t str) -> Self {
        let lanes = lanes(entries);
        let numbers: HashMap<Lane, usize> = lanes.iter().copied().zip(0..).collect();
        let number = |(name, kind)| numbers.get(&(name, kind)).or(numbers.get(&(OTHERS, kind)));
        let before = iter::once(0).chain(entries.iter().map(|entry| entry.time));
        let times = entries.iter().zip(before);
        let failed = (0..).zip(entries).filter(|(_, entry)| entry.error != 0);
        Data {
            title,
            times: times.map(|(entry, before)| entry.time.saturating_sub(before)).collect(),
            lane: column(entries, |entry| number(lane(entry)).copied().unwrap_or(0)),
            access: column(entries, |entry| entry.access.map_or(2, |access| access as u8)),
            session: column(entries, |entry| entry.session),
            text: column(entries, Entry::to_string),
            took: column(entries, |entry| entry.duration.unwrap_or(0)),
            failed: failed.map(|(place, _)| place).collect(),
            damage: trace.file.damage.as_deref(),
            lanes,
        }
    }
}

/// A value of each entry.
fn column<'t, T>(entries: &[&'t Entry], value: impl Fn(&'t Entry) -> T) -> Vec<T> {
    entries.iter().copied().map(value).collect()
}

/// A lane for each register and interrupt, in the order of kinds; behind them one for the others of
/// each kind.
fn lanes<'t>(entries: &[&'t Entry]) -> Vec<Lane<'t>> {
    let mut counts: HashMap<Lane, usize> = HashMap::new();
    for entry in entries {
        *counts.entry(lane(entry)).or_default() += 1;
    }
    let mut lanes: Vec<Lane> = counts.keys().copied().collect();
    lanes.sort_by_key(|lane| (Reverse(counts[lane]), *lane));
    let surplus = lanes.split_off(lanes.len().min(MAX_LANES));
    lanes.sort_by_key(|(name, kind)| (*kind, *name));
    let others: BTreeSet<Kind> = surplus.into_iter().map(|(_, kind)| kind).collect();
    lanes.extend(others.into_iter().map(|kind| (OTHERS, kind)));
    lanes
}

/// The lane of an entry: all guest memory is one, and a part of a register is in the register's.
fn lane(entry: &Entry) -> Lane<'_> {
    let name = match entry.kind {
        Kind::Dma if entry.access == Some(Access::Read) => "memory, read",
        Kind::Dma => "memory, written",
        Kind::Session => "session",
        _ => match entry.name.split_once('+') {
            Some((register, inside)) if !inside.starts_with("0x") => register,
            _ => &entry.name,
        },
    };
    (name, entry.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    fn page(trace: &Trace) -> String {
        let entries: Vec<&Entry> = trace.entries.iter().collect();
        write(trace, &entries, "a </script> title")
    }

    fn data(page: &str) -> serde_json::Value {
        let begin = page.find("{\"title\":").expect("the data");
        let end = page[begin..].find("</script>").expect("the end of the data");
        serde_json::from_str(page[begin..begin + end].trim_end().trim_end_matches(';'))
            .expect("the data are JSON")
    }

    #[test]
    fn registers_interrupts_and_memory_have_lanes() {
        let data = data(&page(&examples::trace()));
        let lanes: Vec<&str> = data["lanes"]
            .as_array()
            .expect("lanes")
            .iter()
            .filter_map(|it| it[0].as_str())
            .collect();
        assert_eq!(
            lanes,
            [
                "BAR0+0x10",
                "RANDOM",
                "SEED",
                "COMMAND",
                "INTx",
                "MSI-X 3",
                "memory, written",
                "timer 5",
                "VERSION",
                "session"
            ]
        );
        assert_eq!(data["text"][3], "SEED write 4 <- 0x7");
        assert_eq!(data["failed"], serde_json::json!([5]));
    }

    #[test]
    fn nothing_in_a_recording_ends_the_script_or_comes_from_elsewhere() {
        let page = page(&examples::trace());
        assert_eq!(page.matches("</script>").count(), PAGE.matches("</script>").count());
        assert!(!page.contains("http:") && !page.contains("https:"), "no network");
        assert!(page.contains("default-src 'none'"), "nor by a later change");
    }

    #[test]
    fn many_registers_share_the_last_lanes() {
        let events = (0..100).map(|number| examples::read(0x100 + 4 * number, &[0; 4])).collect();
        let data = data(&page(&examples::of(events)));
        let lanes = data["lanes"].as_array().expect("lanes");
        assert!(lanes.len() <= MAX_LANES + 2, "{}", lanes.len());
        let lane = data["lane"].as_array().expect("a lane for each");
        let known = lanes.len() as u64;
        assert!(lane.iter().all(|lane| lane.as_u64().is_some_and(|lane| lane < known)));
    }
}
