//! What came of many submissions, a row for each: for a terminal, for a spreadsheet, for a browser,
//! and for Moodle.

mod html;
mod moodle;
mod sheet;

use std::path::Path;

use anyhow::Result;

use crate::batch::Checked;
use crate::report::Report;
use lab::files;

pub use moodle::fill as fill_moodle;

/// Writes the tables beside the reports: `summary.csv` and `summary.html`.
pub fn write(reports: &Path, all: &[Checked]) -> Result<()> {
    files::write(reports.join("summary.csv"), sheet::write(all)?)?;
    files::write(reports.join("summary.html"), html::write(all))
}

/// The table for a terminal.
#[must_use]
pub fn text(all: &[Checked]) -> String {
    let width = all.iter().map(|checked| checked.name.chars().count()).max().unwrap_or(0).max(10);
    let mut text = format!("{:<width$}  {:>7}  failed checks\n", "submission", "points");
    for Checked { name, report } in all {
        let row = match report {
            Ok(report) => {
                let points = format!("{}/{}", report.total(), report.max());
                format!("{name:<width$}  {points:>7}  {}", failed(report).join(" "))
            }
            Err(error) => {
                format!("{name:<width$}        -  not checked: {}", reason(error))
            }
        };
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// The ids of the checks that are not fine.
fn failed(report: &Report) -> Vec<&str> {
    let failed = report.entries.iter().filter(|entry| !entry.verdict.is_fine());
    failed.map(|entry| entry.id.as_str()).collect()
}

/// Why there is no report, in a line.
fn reason(error: &anyhow::Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// Points in percent of those that were to be had; nothing when there were none.
fn percent(report: &Report) -> Option<f64> {
    let max = report.max();
    (max > 0).then(|| 100.0 * f64::from(report.total()) / f64::from(max))
}

#[cfg(test)]
mod examples {
    use super::*;
    use crate::report::examples;

    /// Two reports, one of a name that a spreadsheet takes for a formula, and none.
    pub fn all() -> Vec<Checked> {
        let mut report = examples::report();
        report.submission = "=ann".to_owned();
        vec![
            Checked { name: "=ann".to_owned(), report: Ok(report) },
            Checked { name: "bob <b>".to_owned(), report: Err(anyhow::anyhow!("no\ndisk")) },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_row_for_each_submission() {
        assert_eq!(
            text(&examples::all()),
            "submission   points  failed checks\n\
             =ann           5/17  driver-seed-register driver-leaks\n\
             bob <b>           -  not checked: no disk\n"
        );
    }
}
