//! The table for a spreadsheet: CSV with a column for each check.

use anyhow::{Context, Result};

use super::{failed, percent, reason};
use crate::batch::Checked;

/// The columns before those of the checks.
const COLUMNS: [&str; 7] =
    ["submission", "points", "max", "percent", "status", "failed checks", "not checked because"];

/// The whole table.
pub fn write(all: &[Checked]) -> Result<String> {
    let ids = ids(all);
    let mut writer = csv::Writer::from_writer(Vec::new());
    let head = COLUMNS.into_iter().chain(ids.iter().copied());
    writer.write_record(head).context("cannot write CSV")?;
    for checked in all {
        writer.write_record(row(checked, &ids)).context("cannot write CSV")?;
    }
    finish(writer)
}

/// The text that was written.
pub fn finish(writer: csv::Writer<Vec<u8>>) -> Result<String> {
    let bytes = writer.into_inner().context("cannot write CSV")?;
    String::from_utf8(bytes).context("it was made of text")
}

/// The checks of all reports, in the order in which they come first.
fn ids(all: &[Checked]) -> Vec<&str> {
    let mut ids = Vec::new();
    for entry in all.iter().flat_map(|one| &one.report).flat_map(|report| &report.entries) {
        if !ids.contains(&entry.id.as_str()) {
            ids.push(entry.id.as_str());
        }
    }
    ids
}

fn row(checked: &Checked, ids: &[&str]) -> Vec<String> {
    let mut row = vec![cell(&checked.name)];
    let Ok(report) = &checked.report else {
        let reason = checked.report.as_ref().err().map(reason).unwrap_or_default();
        row.extend(["", "", "", "not checked", "", &cell(&reason)].map(str::to_owned));
        row.resize(COLUMNS.len() + ids.len(), String::new());
        return row;
    };
    row.push(report.total().to_string());
    row.push(report.max().to_string());
    row.push(percent(report).map(|percent| format!("{percent:.1}")).unwrap_or_default());
    row.push(if report.is_fine() { "passed" } else { "failed" }.to_owned());
    row.push(failed(report).join(" "));
    row.push(String::new());
    row.extend(ids.iter().map(|id| {
        let entry = report.entries.iter().find(|entry| entry.id == *id);
        entry.map(|entry| entry.points().to_string()).unwrap_or_default()
    }));
    row
}

/// Text that no spreadsheet takes for a formula: a student chooses its beginning.
pub fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::examples;
    use super::*;

    #[test]
    fn a_spreadsheet_gets_points_by_check_and_no_formula() {
        assert_eq!(
            write(&examples::all()).expect("it can be written"),
            "submission,points,max,percent,status,failed checks,not checked because,\
             driver-build,driver-seed-register,driver-unload,driver-leaks\n\
             '=ann,5,17,29.4,failed,driver-seed-register driver-leaks,,5,0,0,0\n\
             bob <b>,,,,not checked,,no disk,,,,\n"
        );
    }
}
