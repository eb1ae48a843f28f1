//! The report as Gradescope's `results.json`.

use serde_json::{Value, json};

use super::{Entry, Report, Verdict, plain, text};
use crate::terminal;

/// The score of a submission that passes all checks: a check that has nothing to check in a submission
/// counts neither way, and Gradescope has one maximum for all.
const BEST: f64 = 100.0;

/// The whole document.
#[must_use]
pub fn write(report: &Report) -> String {
    let (total, max) = (f64::from(report.total()), f64::from(report.max()));
    let score = if max > 0.0 { (total / max * BEST * 100.0).round() / 100.0 } else { 0.0 };
    let numbered = (1..).zip(&report.entries);
    let document = json!({
        "score": score,
        "execution_time": report.took.as_secs_f64(),
        "visibility": "visible",
        // The same as here, and what the lab says of itself.
        "stdout_visibility": "hidden",
        "output": terminal::plain(&text::tail(report, None)).trim(),
        "output_format": "text",
        "test_output_format": "text",
        "test_name_format": "text",
        "tests": numbered.map(|(number, entry)| test(number, entry)).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

fn test(number: u32, entry: &Entry) -> Value {
    let status = match entry.verdict {
        Verdict::Passed | Verdict::Skipped(_) => "passed",
        Verdict::Failed(_) | Verdict::NotRun(_) => "failed",
    };
    let said = format!("{}\n{}", entry.verdict.message(), entry.verdict.details());
    json!({
        "number": number.to_string(),
        "name": format!("{}: {}", entry.id, entry.title),
        "score": entry.points(),
        "max_score": entry.max(),
        "status": status,
        "output": plain(said.trim()),
        "visibility": "visible",
    })
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn the_results_have_the_published_fields_and_the_hints() {
        let text = write(&examples::report());
        let document: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(document["score"], 29.41, "5 of 17");
        assert_eq!(document["execution_time"], 6.0);
        let fields: Vec<&String> = document.as_object().expect("it is one").keys().collect();
        let published = [
            "score",
            "execution_time",
            "output",
            "output_format",
            "test_output_format",
            "test_name_format",
            "visibility",
            "stdout_visibility",
            "extra_data",
            "tests",
            "leaderboard",
        ];
        assert!(fields.iter().all(|field| published.contains(&field.as_str())), "{fields:?}");
        assert!(document["output"].as_str().expect("text").contains("passed over: b.rar"));
        let tests = document["tests"].as_array().expect("it is a list");
        let status: Vec<&Value> = tests.iter().map(|test| &test["status"]).collect();
        assert_eq!(status, ["passed", "failed", "passed", "failed"]);
        assert_eq!(
            tests[1],
            json!({
                "number": "2",
                "name": "driver-seed-register: the title of driver-seed-register",
                "score": 0, "max_score": 10, "status": "failed", "visibility": "visible",
                "output": "SEED got 0x1: write \"4\" bytes & <no> more\na line[31m\nanother: ]]> line",
            })
        );
        let mut empty = examples::report();
        empty.entries.clear();
        let document: Value = serde_json::from_str(&write(&empty)).expect("it is JSON");
        assert_eq!(document["score"], 0.0);
    }
}
