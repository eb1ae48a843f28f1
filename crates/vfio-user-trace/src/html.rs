//! One page with a timeline. It needs nothing from anywhere else.

use std::collections::HashMap;

use serde::Serialize;

use crate::Trace;
use crate::entry::{Access, Entry, Kind};

const PAGE: &str = include_str!("timeline.html");
/// What stands in the page where the data go.
const PLACE: &str = "\"DATA\"";
/// Most lanes. What is in none of them is in a lane for its kind.
const MAX_LANES: usize = 48;

/// What the page is given: columns, because rows would be three times as long.
#[derive(Serialize)]
struct Data<'t> {
    title: &'t str,
    /// Lanes: name and kind.
    lanes: Vec<(&'t str, &'static str)>,
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

/// A page with these entries.
#[must_use]
pub fn write(trace: &Trace, entries: &[&Entry], title: &str) -> String {
    let lanes = Lanes::of(entries);
    let mut data = Data {
        title,
        lanes: lanes.names.clone(),
        times: Vec::with_capacity(entries.len()),
        lane: Vec::with_capacity(entries.len()),
        access: Vec::with_capacity(entries.len()),
        session: Vec::with_capacity(entries.len()),
        text: Vec::with_capacity(entries.len()),
        took: Vec::with_capacity(entries.len()),
        failed: Vec::new(),
        damage: trace.file.damage.as_deref(),
    };
    let mut before = 0;
    for (place, entry) in entries.iter().enumerate() {
        data.times.push(entry.time.saturating_sub(before));
        before = entry.time;
        data.lane.push(lanes.lane(entry));
        data.access.push(match entry.access {
            Some(Access::Read) => 0,
            Some(Access::Write) => 1,
            None => 2,
        });
        data.session.push(entry.session);
        data.text.push(entry.to_string());
        data.took.push(entry.duration.unwrap_or(0));
        if entry.error != 0 {
            data.failed.push(place);
        }
    }
    // In a script, a `<` could end it.
    let json = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
    let (before, behind) = PAGE.split_once(PLACE).unwrap_or((PAGE, ""));
    format!("{before}{json}{behind}")
}

/// A lane for each register and interrupt, in the order of kinds.
struct Lanes<'t> {
    names: Vec<(&'t str, &'static str)>,
    places: HashMap<(&'t str, Kind), usize>,
    /// The lane of a kind, for what has none.
    others: HashMap<Kind, usize>,
}

impl<'t> Lanes<'t> {
    fn of(entries: &[&'t Entry]) -> Self {
        let mut counts: HashMap<(&str, Kind), usize> = HashMap::new();
        for entry in entries {
            *counts.entry((lane_name(entry), entry.kind)).or_default() += 1;
        }
        let mut wanted: Vec<((&str, Kind), usize)> = counts.into_iter().collect();
        wanted.sort_by(|one, other| other.1.cmp(&one.1).then(one.0.cmp(&other.0)));
        let surplus: Vec<Kind> =
            wanted.iter().skip(MAX_LANES).map(|((_, kind), _)| *kind).collect();
        wanted.truncate(MAX_LANES);
        wanted.sort_by_key(|((name, kind), _)| (*kind, *name));
        let mut lanes = Lanes { names: Vec::new(), places: HashMap::new(), others: HashMap::new() };
        for (key, _) in wanted {
            lanes.places.insert(key, lanes.names.len());
            lanes.names.push((key.0, key.1.name()));
        }
        for kind in Kind::ALL.into_iter().filter(|kind| surplus.contains(kind)) {
            lanes.others.insert(kind, lanes.names.len());
            lanes.names.push(("others", kind.name()));
        }
        lanes
    }

    fn lane(&self, entry: &Entry) -> usize {
        let place = self.places.get(&(lane_name(entry), entry.kind));
        place.or_else(|| self.others.get(&entry.kind)).copied().unwrap_or(0)
    }
}

/// The lane of an entry: all guest memory is one, and a part of a register is in the register's.
fn lane_name(entry: &Entry) -> &str {
    match entry.kind {
        Kind::Dma if entry.access == Some(Access::Read) => "memory, read",
        Kind::Dma => "memory, written",
        Kind::Session => "session",
        Kind::Register | Kind::Config => {
            let (register, inside) = entry.name.split_once('+').unwrap_or((&entry.name, ""));
            if inside.starts_with("0x") { &entry.name } else { register }
        }
        _ => &entry.name,
    }
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
