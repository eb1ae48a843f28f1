//! A status as tables for people.

use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Result;
use entropy::health::HealthReport;
use tabwriter::TabWriter;

use crate::daemon::snapshot::{ClassStatus, GuestStatus, Snapshot};

/// The tables.
pub fn of(snapshot: &Snapshot) -> Result<String> {
    let connected = snapshot.guests.iter().filter(|guest| guest.client.is_some()).count();
    let mut text = format!(
        "my-rng-server {}, process {}, for {}: {} guests, {connected} connected; {}\n\n",
        snapshot.version,
        snapshot.process,
        time(snapshot.uptime_seconds),
        snapshot.guests.len(),
        snapshot.sandbox,
    );
    let guests = snapshot.guests.iter().map(guest);
    let head = "GUEST\tDEVICE\tSOURCE\tCLASS\tCLIENT\tFOR\tCLIENTS\tREFUSED\tBYTES\tRATE\tWAITING";
    text += &table(head, guests)?;
    if !snapshot.classes.is_empty() {
        let classes = snapshot.classes.iter().map(class);
        writeln!(text)?;
        text += &table("CLASS\tNUMBER\tIN\tAVERAGE\tPEAK\tFLOOR\tPROMISED", classes)?;
    }
    let tested: Vec<_> = snapshot.health().map(|(name, report)| health(name, report)).collect();
    if !tested.is_empty() {
        writeln!(text)?;
        text += &table("TESTED\tBYTES\tREPETITIONS\tPROPORTIONS\tSTATE", tested.into_iter())?;
    }
    Ok(text)
}

fn health(name: &str, report: &HealthReport) -> String {
    [
        name.to_owned(),
        report.bytes.to_string(),
        report.repetition_alarms.to_string(),
        report.proportion_alarms.to_string(),
        (if report.stopped { "stopped" } else { "in use" }).to_owned(),
    ]
    .join("\t")
}

fn table(head: &str, rows: impl Iterator<Item = String>) -> Result<String> {
    let mut table = TabWriter::new(Vec::new()).minwidth(0);
    writeln!(table, "{head}")?;
    for row in rows {
        writeln!(table, "{row}")?;
    }
    Ok(String::from_utf8(table.into_inner()?)?)
}

fn guest(guest: &GuestStatus) -> String {
    let client = guest.client.as_ref();
    [
        guest.name.clone(),
        guest.device.clone(),
        guest.source.clone(),
        or_dash(guest.class),
        client.map_or("-".into(), |client| client.process.map_or("?".into(), |id| id.to_string())),
        client.map_or("-".into(), |client| time(client.seconds)),
        guest.connections.to_string(),
        guest.refused.to_string(),
        guest.bytes.to_string(),
        format!("{:.1} KiB/s", guest.bytes_per_second / 1024.0),
        guest.waiting.to_string(),
    ]
    .join("\t")
}

fn class(class: &ClassStatus) -> String {
    [
        class.name.clone(),
        class.class.to_string(),
        class.parent.clone().unwrap_or("-".into()),
        class.average.map_or("-".into(), kib),
        class.peak.map_or("-".into(), kib),
        kib(class.floor),
        kib(class.promised),
    ]
    .join("\t")
}

fn or_dash(number: Option<u16>) -> String {
    number.map_or("-".into(), |number| number.to_string())
}

fn kib(bytes: u64) -> String {
    if bytes % 1024 == 0 { format!("{} KiB/s", bytes / 1024) } else { format!("{bytes} B/s") }
}

fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_stand_below_their_heads() {
        let text = of(&crate::status::example()).unwrap();
        let expected = "\
my-rng-server 1.2.3, process 42, for 1 min 40 s: 2 guests, 1 connected; sandbox on

GUEST      DEVICE      SOURCE  CLASS  CLIENT  FOR        CLIENTS  REFUSED  BYTES  RATE       WAITING
a \"name\"\\  virtio-rng  hwrng   -      -       -          2        1        4096   8.0 KiB/s  0
web1       virtio-rng  hwrng   2      4711    1 min 5 s  2        1        4096   8.0 KiB/s  1

CLASS  NUMBER  IN  AVERAGE   PEAK  FLOOR     PROMISED
hwrng  1       -   64 KiB/s  -     64 KiB/s  8 KiB/s

TESTED  BYTES  REPETITIONS  PROPORTIONS  STATE
hwrng   5000   1            0            in use
";
        assert_eq!(text, expected);
    }

    #[test]
    fn times_are_short() {
        assert_eq!(time(59), "59 s");
        assert_eq!(time(3599), "59 min 59 s");
        assert_eq!(time(90061), "25 h 1 min");
    }
}
