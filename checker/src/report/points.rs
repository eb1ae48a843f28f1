//! The points, as JSON: for programs that count them, and in the form in which GitHub Classroom takes
//! the result of an autograding step (`version`, `status`, `max_score`, `tests`).

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Entry, Failure, NOT_RUN, Report, Verdict};
use crate::handed_in::HandedIn;

/// The version of GitHub Classroom's form.
const VERSION: u32 = 1;

/// The whole report.
#[must_use]
pub fn write(report: &Report) -> String {
    let document = json!({
        "version": VERSION,
        "status": if report.is_fine() { "pass" } else { "fail" },
        "max_score": report.max(),
        "tests": report.entries.iter().map(test).collect::<Vec<_>>(),
        "submission": report.submission,
        "profile": report.profile,
        "kernel": report.kernel,
        "handed_in": report.handed_in,
        "notes": report.notes,
        "seconds": report.took.as_secs_f64(),
        "total": report.total(),
        "max": report.max(),
        "checks": report.entries.iter().map(check).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

/// What is read of a report.
#[derive(Debug, Deserialize)]
struct Document {
    submission: String,
    profile: String,
    kernel: String,
    handed_in: HandedIn,
    notes: Vec<String>,
    seconds: f64,
    checks: Vec<Check>,
}

/// What is read of a check.
#[derive(Debug, Deserialize)]
struct Check {
    id: String,
    title: String,
    max: u32,
    verdict: Token,
    hint: String,
    details: String,
    seconds: f64,
}

/// A verdict, as [`Verdict::token`] writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Token {
    Passed,
    Failed,
    Skipped,
    NotRun,
}

/// The report of a document that [`write`] made.
pub fn read(text: &str) -> Result<Report> {
    let document: Document = serde_json::from_str(text).context("it is no report")?;
    let Document { submission, profile, kernel, handed_in, notes, seconds, checks } = document;
    let entries = checks.into_iter().map(Check::entry).collect::<Result<_>>()?;
    Ok(Report { submission, profile, kernel, handed_in, notes, entries, took: time(seconds)? })
}

impl Check {
    fn entry(self) -> Result<Entry> {
        let Self { id, title, max, verdict, hint, details, seconds } = self;
        let verdict = match verdict {
            Token::Passed => Verdict::Passed,
            Token::Failed => Verdict::Failed(Failure { hint, details }),
            Token::Skipped => Verdict::Skipped(hint),
            Token::NotRun => {
                Verdict::NotRun(hint.strip_prefix(NOT_RUN).unwrap_or(&hint).to_owned())
            }
        };
        Ok(Entry { id, title, verdict, worth: max, took: time(seconds)? })
    }
}

fn time(seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds).with_context(|| format!("invalid time: {seconds}"))
}

fn check(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "title": entry.title,
        "points": entry.points(),
        "max": entry.max(),
        "verdict": entry.verdict.token(),
        "hint": entry.verdict.message(),
        "details": entry.verdict.details(),
        "seconds": entry.took.as_secs_f64(),
    })
}

/// The same for GitHub Classroom.
fn test(entry: &Entry) -> Value {
    let status = match entry.verdict {
        Verdict::Passed | Verdict::Skipped(_) => "pass",
        Verdict::Failed(_) => "fail",
        Verdict::NotRun(_) => "error",
    };
    json!({
        "name": entry.id,
        "status": status,
        "score": entry.points(),
        "max_score": entry.max(),
        "message": entry.verdict.message(),
        "test_code": entry.title,
        "filename": "",
        "line_no": 0,
        "execution_time": format!("{:.1}s", entry.took.as_secs_f64()),
    })
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn a_report_that_is_read_is_the_one_that_was_written() {
        let text = write(&examples::report());
        assert_eq!(write(&read(&text).expect("it is one")), text);
        for wrong in ["{}", &text.replace("1.5,", "-1.5,"), &text.replace("passed", "well")] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_points_of_each_check_and_their_sum() {
        let text = write(&examples::report());
        let document: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!((&document["total"], &document["max"]), (&json!(5), &json!(17)));
        assert_eq!(document["checks"][1]["id"], "driver-seed-register");
        assert_eq!(document["checks"][1]["verdict"], "failed");
        assert_eq!(document["checks"][1]["points"], 0);
        assert_eq!(document["checks"][3]["hint"], "not run, because driver-load failed");
        assert_eq!(document["max_score"], 17);
        let handed_in = &document["handed_in"];
        assert_eq!(handed_in["found"], json!([["driver", "driver"]]));
        assert_eq!(handed_in["missing"], json!(["app"]));
        assert_eq!(handed_in["passed_over"], json!(["b.rar: not unpacked"]));
        assert_eq!(
            document["tests"][0],
            json!({
                "name": "driver-build", "status": "pass", "score": 5, "max_score": 5, "message": "",
                "test_code": "the title of driver-build", "filename": "", "line_no": 0,
                "execution_time": "1.5s",
            })
        );
    }
}
