//! Moodle's grading worksheet, filled in.
//!
//! A teacher downloads it from the assignment ("Download grading worksheet"), and uploads what is
//! written here ("Upload grading worksheet"). Moodle wants its columns `Identifier`, `Grade` and
//! `Last modified (grade)` back; all others stay as they are.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use csv::StringRecord;

use super::sheet;
use crate::batch::Checked;
use crate::report::Report;
use crate::report::html::escaped;

/// The columns that are read.
const IDENTIFIER: &str = "Identifier";
const GRADE: &str = "Grade";
const MAXIMUM: &str = "Maximum Grade";
const COMMENTS: &str = "Feedback comments";
/// The columns in which a submission's name may stand as it is.
const NAMES: [&str; 4] = ["Full name", "ID number", "Email address", "Username"];
/// What a folder of "Download all submissions" has behind the name and the number.
const MARK: &str = "_assignsubmission_";
/// The best grade, if the worksheet does not say.
const USUAL_MAXIMUM: f64 = 100.0;

/// The worksheet with grades and comments, and what there was no place for.
#[derive(Debug)]
pub struct Filled {
    /// The worksheet.
    pub worksheet: String,
    /// Reports without a row, with the reason.
    pub without_row: Vec<String>,
}

/// Fills a worksheet in.
pub fn fill(worksheet: &str, all: &[Checked]) -> Result<Filled> {
    // Moodle's files can begin with a byte order mark.
    let text = worksheet.strip_prefix('\u{feff}').unwrap_or(worksheet);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let head = reader.headers().context("the worksheet is no CSV")?.clone();
    let columns: BTreeMap<&str, usize> = head.iter().zip(0..).collect();
    let needed = [IDENTIFIER, GRADE];
    ensure!(
        needed.iter().all(|name| columns.contains_key(name)),
        "the worksheet has the columns {}; expected {} among them: download it from Moodle with the \
         language set to English",
        head.iter().collect::<Vec<_>>().join(", "),
        needed.join(" and ")
    );
    let mut rows: Vec<StringRecord> =
        reader.records().collect::<Result<_, _>>().context("the worksheet is no CSV")?;
    let mut without_row = Vec::new();
    for Checked { name, report } in all {
        let Ok(report) = report else { continue };
        match row_of(&rows, &columns, name) {
            Ok(row) => rows[row] = graded(&rows[row], &columns, report),
            Err(reason) => without_row.push(format!("{name}: {reason}")),
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(&head).context("cannot write CSV")?;
    for row in &rows {
        writer.write_record(row).context("cannot write CSV")?;
    }
    Ok(Filled { worksheet: sheet::finish(writer)?, without_row })
}

/// The row of a submission: by the number in its folder's name, else by a name that is the same.
fn row_of(
    rows: &[StringRecord],
    columns: &BTreeMap<&str, usize>,
    name: &str,
) -> Result<usize, String> {
    let cell = |row: &StringRecord, column: &str| -> Option<String> {
        Some(row.get(*columns.get(column)?)?.trim().to_lowercase())
    };
    let is_it = |row: &StringRecord| match number_in(name) {
        // "Participant 123": the word depends on Moodle's language.
        Some(number) => {
            let identifier = cell(row, IDENTIFIER).unwrap_or_default();
            identifier.rsplit(' ').next() == Some(number)
        }
        None => NAMES.iter().any(|column| cell(row, column) == Some(name.to_lowercase())),
    };
    let found: Vec<usize> =
        rows.iter().enumerate().filter(|(_, row)| is_it(row)).map(|(at, _)| at).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err("the worksheet has no row for it".to_owned()),
        _ => Err("the worksheet has several rows for it".to_owned()),
    }
}

/// The participant's number in a name as Moodle makes it: `Ada Lovelace_123_assignsubmission_file_`.
fn number_in(name: &str) -> Option<&str> {
    let (before, _) = name.split_once(MARK)?;
    let (_, number) = before.rsplit_once('_')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(number)
}

/// A row with the report's grade, as a part of the best one.
fn graded(row: &StringRecord, columns: &BTreeMap<&str, usize>, report: &Report) -> StringRecord {
    let at = |column: &str| columns.get(column).copied();
    let maximum = at(MAXIMUM).and_then(|column| row.get(column)?.trim().parse::<f64>().ok());
    let grade = super::percent(report)
        .map(|percent| format!("{:.2}", percent / 100.0 * maximum.unwrap_or(USUAL_MAXIMUM)));
    let cell = |(index, cell): (usize, &str)| match (Some(index), &grade) {
        (column, Some(grade)) if column == at(GRADE) => grade.clone(),
        (column, _) if column == at(COMMENTS) => comments(report),
        _ => cell.to_owned(),
    };
    row.iter().enumerate().map(cell).collect()
}

/// What the student reads, in HTML as Moodle takes it.
fn comments(report: &Report) -> String {
    let mut lines = vec![format!("{} of {} points", report.total(), report.max())];
    for entry in report.entries.iter().filter(|entry| !entry.verdict.is_fine()) {
        lines.push(format!("{} {}: {}", entry.verdict.word(), entry.id, entry.verdict.message()));
    }
    lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    const WORKSHEET: &str = "\u{feff}Identifier,\"Full name\",\"Email address\",Status,Grade,\"Maximum Grade\",\
\"Last modified (submission)\",\"Last modified (grade)\",\"Feedback comments\"\n\
\"Participant 12\",\"Ada Lovelace\",ada@example.org,Submitted,,20.00,\"1 May 2026, 9:00\",-,\n\
\"Participant 112\",\"Bob \"\"B\"\" Bobson\",bob@example.org,Submitted,,20.00,-,-,\n\
\"Participant 13\",\"Cleo\",cleo@example.org,\"No submission\",,20.00,-,-,\"line\none\"\n";

    fn checked(name: &str) -> Checked {
        Checked { name: name.to_owned(), report: Ok(examples::report()) }
    }

    #[test]
    fn grades_and_hints_go_to_the_rows_of_their_students() {
        let all = [
            checked("Ada Lovelace_12_assignsubmission_file_"),
            checked("bob@example.org"),
            checked("dan"),
            Checked { name: "Cleo".to_owned(), report: Err(anyhow::anyhow!("no disk")) },
        ];
        let filled = fill(WORKSHEET, &all).expect("it is one");
        let comment = "\"5 of 17 points<br>failed driver-seed-register: SEED got 0x1: write \
            &quot;4&quot; bytes &amp; &lt;no&gt; more<br>not run driver-leaks: not run, because \
            driver-load failed\"";
        assert_eq!(
            filled.worksheet,
            format!(
                "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Last modified \
                 (submission),Last modified (grade),Feedback comments\n\
                 Participant 12,Ada Lovelace,ada@example.org,Submitted,5.88,20.00,\"1 May 2026, \
                 9:00\",-,{comment}\n\
                 Participant 112,\"Bob \"\"B\"\" Bobson\",bob@example.org,Submitted,5.88,20.00,-,-,\
                 {comment}\n\
                 Participant 13,Cleo,cleo@example.org,No submission,,20.00,-,-,\"line\none\"\n"
            )
        );
        assert_eq!(filled.without_row, ["dan: the worksheet has no row for it"]);
    }

    #[test]
    fn a_worksheet_in_another_language_is_named() {
        let error = fill("ID,Bewertung\n1,2\n", &[]).expect_err("it is another").to_string();
        assert!(
            error.contains("the columns ID, Bewertung; expected Identifier and Grade"),
            "{error}"
        );
    }
}
