//! The report for a person: as a whole, or piece by piece while the checks end.

use std::fmt::Write as _;

use super::{Entry, Report, Verdict, plain};
use crate::handed_in::HandedIn;
use crate::terminal::{self, BAD, GOOD, QUOTED, UNKNOWN, paragraph, styled};

/// How many lines of quoted output are shown.
const SHOWN_LINES: usize = 30;
/// What is before a hint.
const HINT: &str = "           > ";
/// What stands before quoted output.
const SAID: &str = "           | ";
/// What is before the rest of a title that was wrapped.
const TITLE: &str = "                                                     ";

/// The whole report.
#[must_use]
pub fn write(report: &Report) -> String {
    let mut text = head(&report.submission, &report.profile, &report.kernel);
    for one in &report.entries {
        text.push_str(&entry(one, None));
    }
    text.push_str(&tail(report, None));
    terminal::plain(&text)
}

/// What is before the checks.
#[must_use]
pub fn head(submission: &str, profile: &str, kernel: &str) -> String {
    format!("{submission} (profile {profile}, kernel {kernel})\n\n")
}

/// A check with how it ended, for a terminal of a width; of any width if nothing is said.
#[must_use]
pub fn entry(entry: &Entry, width: Option<usize>) -> String {
    let seconds = entry.took.as_secs_f64();
    let (points, worth) = (entry.points(), entry.max());
    let style = match entry.verdict {
        Verdict::Passed => GOOD,
        Verdict::Failed(_) => BAD,
        Verdict::Skipped(_) | Verdict::NotRun(_) => UNKNOWN,
    };
    // The style has no width.
    let word = styled(style, &format!("{:<7}", entry.verdict.word()));
    let mut rest =
        format!("{:<24} {points:>3}/{worth:<3} {seconds:5.1} s  {}", entry.id, entry.title);
    if let Some(width) = width {
        let first = " ".repeat("  passed   ".len());
        rest = paragraph(&rest, &first, TITLE, width).split_off(first.len());
    }
    let mut text = format!("  {word}  {rest}\n");
    if entry.verdict != Verdict::Passed {
        indent(&mut text, &entry.verdict.message(), HINT, width);
    }
    let mut said = String::new();
    indent(&mut said, entry.verdict.details(), SAID, width);
    text.extend(said.lines().map(|line| format!("{}\n", styled(QUOTED, line))));
    text
}

/// What is behind the checks.
#[must_use]
pub fn tail(report: &Report, width: Option<usize>) -> String {
    let mut text = String::new();
    handed_in(&mut text, &report.handed_in, width);
    if !report.notes.is_empty() {
        text.push_str("\nNoticed:\n");
        for note in &report.notes {
            indent(&mut text, note, "  ", width);
        }
    }
    let (total, max) = (report.total(), report.max());
    let seconds = report.took.as_secs_f64();
    let _ = writeln!(text, "\n{total} of {max} points, {seconds:.1} s");
    text
}

/// What was found in what was handed in, and what not.
fn handed_in(text: &mut String, handed_in: &HandedIn, width: Option<usize>) {
    let HandedIn { found, missing, notes, passed_over } = handed_in;
    text.push_str("\nHanded in:\n");
    for (part, place) in found {
        indent(text, &format!("{part}: {place}"), "  ", width);
    }
    for part in missing {
        indent(text, &format!("{part}: none found"), "  ", width);
    }
    for (what, lines) in [("", notes), ("passed over: ", passed_over)] {
        lines.iter().for_each(|line| indent(text, &format!("{what}{line}"), "  ", width));
    }
}

fn indent(text: &mut String, lines: &str, with: &str, width: Option<usize>) {
    let lines = plain(lines);
    let count = lines.lines().count();
    for line in lines.lines().take(SHOWN_LINES) {
        let wrapped = width.map(|width| paragraph(line, with, with, width));
        let _ = writeln!(text, "{}", wrapped.unwrap_or_else(|| format!("{with}{line}")));
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

    #[test]
    fn on_a_terminal_lines_are_as_wide_as_it_is_and_verdicts_have_colours() {
        let report = examples::report();
        let failed = entry(&report.entries[1], Some(60));
        assert_eq!(
            terminal::plain(&failed),
            format!(
                "  failed   driver-seed-register       0/10    1.5 s  the\n\
                 {TITLE}title\n{TITLE}of\n{TITLE}driver-seed-register\n\
                 {HINT}SEED got 0x1: write \"4\" bytes & <no> more\n\
                 {SAID}a line[31m\n{SAID}another: ]]> line\n"
            )
        );
        assert!(failed.starts_with("  \x1b[1m\x1b[31mfailed "), "{failed:?}");
        assert!(!terminal::plain(&failed).contains('\x1b'), "a student's text has no colours");
        assert!(tail(&report, Some(24)).lines().all(|line| line.chars().count() <= 24));
    }
}
