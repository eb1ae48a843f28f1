//! The report in TAP version 14, the Test Anything Protocol.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Report, Verdict, plain_line};

/// The whole report.
#[must_use]
pub fn write(report: &Report) -> String {
    let mut text = format!("TAP version 14\n1..{}\n", report.entries.len());
    for (index, entry) in report.entries.iter().enumerate() {
        let number = index + 1;
        let name = format!("{}: {}", entry.id, entry.title).replace('#', "\\#");
        let ok = if entry.verdict.is_fine() { "ok" } else { "not ok" };
        let skip = match &entry.verdict {
            Verdict::Skipped(reason) => format!(" # SKIP {}", reason.replace('\n', " ")),
            _ => String::new(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{ok} {number} - {name}{skip}\n  ---");
        for (key, value) in
            [("message", entry.verdict.message()), ("details", entry.verdict.details().to_owned())]
        {
            if !value.is_empty() {
                // A JSON string is a valid YAML one, whatever is in it.
                let _ = writeln!(text, "  {key}: {}", Value::String(value));
            }
        }
        let (points, worth) = (entry.points(), entry.max());
        let millis = entry.took.as_millis();
        let _ =
            writeln!(text, "  points: {points}\n  max: {worth}\n  duration_ms: {millis}\n  ...");
    }
    for line in &report.handed_in.passed_over {
        let _ = writeln!(text, "# passed over: {}", plain_line(line));
    }
    let (total, max) = (report.total(), report.max());
    let _ = writeln!(text, "# {}: {total} of {max} points", report.submission);
    text
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn tap_has_a_plan_verdicts_and_yaml() {
        let text = write(&examples::report());
        assert!(text.starts_with(
            "TAP version 14\n1..4\n\
             ok 1 - driver-build: the title of driver-build\n  ---\n  points: 5\n  max: 5\n  \
             duration_ms: 1500\n  ...\n\
             not ok 2 - driver-seed-register: the title of driver-seed-register\n  ---\n  \
             message: \"SEED got 0x1: write \\\"4\\\" bytes & <no> more\"\n  \
             details: \"a line\\u001b[31m\\u0000\\nanother: ]]> line\\n\"\n"
        ));
        assert!(text.contains("\nok 3 - driver-unload: the title of driver-unload # SKIP no mod"));
        assert!(text.contains("\nnot ok 4 - driver-leaks: the title of driver-leaks\n"));
        assert!(text.contains("\n# passed over: b.rar: not unpacked\n"), "{text}");
        assert!(text.ends_with("# ann: 5 of 17 points\n"));
    }
}
