//! The report for a person.

use std::fmt::Write as _;

use super::{Report, Verdict, plain};
use crate::submission::HandedIn;

/// How much of what somebody said is shown.
const SHOWN_LINES: usize = 30;

/// The whole report.
#[must_use]
pub fn write(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{} (profile {}, kernel {})\n",
        report.submission, report.profile, report.kernel
    );
    for entry in &report.entries {
        let seconds = entry.took.as_secs_f64();
        let (points, worth) = (entry.points(), entry.max());
        let word = entry.verdict.word();
        let _ = writeln!(
            text,
            "  {word:<7}  {:<24} {points:>3}/{worth:<3} {seconds:5.1} s  {}",
            entry.id, entry.title
        );
        if entry.verdict != Verdict::Passed {
            indent(&mut text, &entry.verdict.message(), "           > ");
        }
        indent(&mut text, entry.verdict.details(), "           | ");
    }
    handed_in(&mut text, &report.handed_in);
    if !report.notes.is_empty() {
        text.push_str("\nNoticed:\n");
        for note in &report.notes {
            indent(&mut text, note, "  ");
        }
    }
    let (total, max) = (report.total(), report.max());
    let seconds = report.took.as_secs_f64();
    let _ = writeln!(text, "\n{total} of {max} points, {seconds:.1} s");
    text
}

/// What was found in what was handed in, and what not.
fn handed_in(text: &mut String, handed_in: &HandedIn) {
    let HandedIn { found, missing, notes, passed_over } = handed_in;
    text.push_str("\nHanded in:\n");
    for (part, place) in found {
        indent(text, &format!("{part}: {place}"), "  ");
    }
    for part in missing {
        indent(text, &format!("{part}: none found"), "  ");
    }
    for (what, lines) in [("", notes), ("passed over: ", passed_over)] {
        lines.iter().for_each(|line| indent(text, &format!("{what}{line}"), "  "));
    }
}

fn indent(text: &mut String, lines: &str, with: &str) {
    let lines = plain(lines);
    let count = lines.lines().count();
    for line in lines.lines().take(SHOWN_LINES) {
        let _ = writeln!(text, "{with}{line}");
    }
    if count > SHOWN_LINES {
        let _ = writeln!(text, "{with}... and {} lines more", count - SHOWN_LINES);
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn a_person_sees_verdicts_points_hints_and_what_was_said() {
        assert_eq!(
            write(&examples::report()),
            "ann (profile my_rng, kernel 6.12)\n\n  \
             passed   driver-build               5/5     1.5 s  the title of driver-build\n  \
             failed   driver-seed-register       0/10    1.5 s  the title of driver-seed-register\n           \
             > SEED got 0x1: write \"4\" bytes & <no> more\n           \
             | a line[31m\n           \
             | another: ]]> line\n  \
             skipped  driver-unload              0/0     1.5 s  the title of driver-unload\n           \
             > no module_exit\n  \
             not run  driver-leaks               0/2     1.5 s  the title of driver-leaks\n           \
             > not run, because driver-load failed\n\n\
             Handed in:\n  driver: driver\n  application: none found\n  a.zip was unpacked\n  \
             passed over: b.rar: not unpacked\n\n\
             Noticed:\n  no MODULE_LICENSE: GPL added\n\n5 of 17 points, 6.0 s\n"
        );
    }
}
