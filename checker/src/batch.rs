//! A folder of submissions, several at once.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};

use crate::check::check;
use crate::checks::Tools;
use crate::report::{Report, junit, points, tap, text};
use crate::submission::{self, Submission};

/// What came of a submission.
#[derive(Debug)]
pub struct Checked {
    /// The submission's name.
    pub name: String,
    /// Its report, or why the lab could not make one.
    pub report: Result<Report>,
}

/// Checks all submissions, so many at once, and returns what came of them in their order. Reports
/// are written as soon as they are there.
pub fn check_all(
    folders: &[PathBuf],
    jobs: usize,
    tools: &Tools,
    reports: Option<&Path>,
) -> Result<Vec<Checked>> {
    if let Some(reports) = reports {
        fs::create_dir_all(reports)
            .with_context(|| format!("cannot create {}", reports.display()))?;
    }
    // It is not drawn when standard error is no terminal.
    let bar = ProgressBar::new(folders.len().try_into().unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {elapsed} {msg}");
    bar.set_style(style.context("the template is right")?);
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, folders.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, folder)) = take(&next, folders) {
                    let checked = check_one(folder, tools, reports);
                    bar.println(line(&checked));
                    bar.inc(1);
                    let mut done = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((index, checked));
                }
            });
        }
    });
    bar.finish_and_clear();
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, checked)| checked).collect())
}

fn take<'a>(next: &AtomicUsize, folders: &'a [PathBuf]) -> Option<(usize, &'a PathBuf)> {
    let index = next.fetch_add(1, Ordering::SeqCst);
    folders.get(index).map(|folder| (index, folder))
}

fn check_one(folder: &Path, tools: &Tools, reports: Option<&Path>) -> Checked {
    let name = submission::name_of(folder);
    // Whatever a submission does, the others are checked.
    let report = catch_unwind(AssertUnwindSafe(|| {
        let found = Submission::find(folder)?;
        // One that lacks a part that is required has a report, too.
        let found = match tools.profile.hand_in.required.is_empty() {
            true => found.not_empty(folder)?,
            false => found,
        };
        check(&found, tools)
    }));
    let report = report.unwrap_or_else(|_| Err(anyhow!("the checker panicked, see above")));
    let written = match (&report, reports) {
        (Ok(report), Some(reports)) => write_all(report, reports, &name),
        _ => Ok(()),
    };
    Checked { name, report: report.and_then(|report| written.map(|()| report)) }
}

/// Writes a report in all its forms.
fn write_all(report: &Report, folder: &Path, name: &str) -> Result<()> {
    let files = [
        ("txt", text::write(report)),
        ("tap", tap::write(report)),
        ("xml", junit::write(report)?),
        ("json", points::write(report)),
    ];
    for (extension, contents) in files {
        let path = folder.join(format!("{name}.{extension}"));
        fs::write(&path, contents).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn line(checked: &Checked) -> String {
    match &checked.report {
        Ok(report) => format!("{}: {} of {} points", checked.name, report.total(), report.max()),
        Err(error) => format!("{}: not checked: {error:#}", checked.name),
    }
}

/// The table at the end.
#[must_use]
pub fn summary(all: &[Checked]) -> String {
    let width = all.iter().map(|checked| checked.name.chars().count()).max().unwrap_or(0).max(10);
    let mut text = format!("{:<width$}  {:>7}  failed checks\n", "submission", "points");
    for Checked { name, report } in all {
        let row = match report {
            Ok(report) => {
                let failed = report.entries.iter().filter(|entry| !entry.verdict.is_fine());
                let failed: Vec<&str> = failed.map(|entry| entry.id.as_str()).collect();
                let points = format!("{}/{}", report.total(), report.max());
                format!("{name:<width$}  {points:>7}  {}", failed.join(" "))
            }
            Err(error) => {
                let reason = format!("{error:#}").replace('\n', " ");
                format!("{name:<width$}        -  not checked: {reason}")
            }
        };
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::examples;

    #[test]
    fn the_table_has_a_row_for_each_submission() {
        let all = [
            Checked { name: "ann".to_owned(), report: Ok(examples::report()) },
            Checked { name: "bartholomew".to_owned(), report: Err(anyhow::anyhow!("no\ndisk")) },
        ];
        assert_eq!(
            summary(&all),
            "submission    points  failed checks\n\
             ann             5/17  driver-seed-register driver-leaks\n\
             bartholomew        -  not checked: no disk\n"
        );
    }
}
