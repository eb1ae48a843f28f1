//! The points, as JSON: for whoever counts them, and in the form in which GitHub Classroom takes
//! the result of an autograding step (`version`, `status`, `max_score`, `tests`).

use serde_json::{Value, json};

use super::{Entry, Report, Verdict};

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
