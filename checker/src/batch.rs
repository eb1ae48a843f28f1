//! A folder of submissions, several at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};

use crate::check::check;
use crate::recordings;
use crate::report::{Report, html, junit, points, tap, text};
use crate::submission::{Found, Submission};
use crate::tools::Tools;
use journal::{Head, Journal};
use lab::files;

mod journal;
mod merge;
mod shard;

pub use merge::merge;
pub use shard::Shard;

/// What came of a submission.
#[derive(Debug)]
pub struct Checked {
    /// The submission's name.
    pub name: String,
    /// Its report, or why the lab could not make one.
    pub report: Result<Report>,
}

/// Checks a part of a folder's submissions, so many at once, and returns what came of them in their
/// order. Reports are written as soon as they are there.
pub fn check_all(
    all: &[Found],
    shard: Shard,
    jobs: usize,
    tools: &Tools,
    reports: Option<&Path>,
) -> Result<Vec<Checked>> {
    check_with(all, shard, jobs, &tools.profile.name, reports, &|found| {
        let mut submission = Submission::find(&found.path)?;
        submission.name.clone_from(&found.name);
        // An empty one has a report, too.
        check(&submission, tools)
    })
}

/// The same, with something that checks one of them.
fn check_with(
    all: &[Found],
    shard: Shard,
    jobs: usize,
    profile: &str,
    reports: Option<&Path>,
    check: &(dyn Fn(&Found) -> Result<Report> + Sync),
) -> Result<Vec<Checked>> {
    let head = Head {
        profile: profile.to_owned(),
        shard,
        submissions: all.iter().map(|found| found.name.clone()).collect(),
    };
    let writer = reports.map(|folder| Writer::begin(folder, &head)).transpose()?;
    let mine: Vec<&Found> = shard.part(all).collect();
    let bar = bar(mine.len())?;
    let next = AtomicUsize::new(0);
    let done: Vec<OnceLock<Checked>> = mine.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, mine.len().max(1)) {
            scope.spawn(|| {
                while let Some((index, found)) = take(&next, &mine) {
                    let checked = check_one(found, writer.as_ref(), check);
                    bar.println(line(&checked));
                    bar.inc(1);
                    // Each is taken once.
                    let _ = done[index].set(checked);
                }
            });
        }
    });
    bar.finish_and_clear();
    Ok(done.into_iter().filter_map(OnceLock::into_inner).collect())
}

/// Shows how far it is. It is not drawn when standard error is no terminal.
fn bar(length: usize) -> Result<ProgressBar> {
    let bar = ProgressBar::new(length.try_into().unwrap_or(u64::MAX));
    let style = ProgressStyle::with_template("{pos}/{len} {wide_bar} {elapsed} {msg}");
    bar.set_style(style.context("the template is right")?);
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    Ok(bar)
}

fn take<'a>(next: &AtomicUsize, mine: &[&'a Found]) -> Option<(usize, &'a Found)> {
    let index = next.fetch_add(1, Ordering::SeqCst);
    mine.get(index).map(|found| (index, *found))
}

fn check_one(
    found: &Found,
    writer: Option<&Writer<'_>>,
    check: &(dyn Fn(&Found) -> Result<Report> + Sync),
) -> Checked {
    // Whatever a submission does, the others are checked.
    let report = catch_unwind(AssertUnwindSafe(|| check(found)));
    let report = report.unwrap_or_else(|_| Err(anyhow!("the checker panicked, see above")));
    let mut checked = Checked { name: found.name.clone(), report };
    if let Some(Err(error)) = writer.map(|writer| writer.write(&checked)) {
        checked.report = Err(error);
    }
    checked
}

/// Where the reports go.
struct Writer<'a> {
    folder: &'a Path,
    journal: Journal,
}

impl<'a> Writer<'a> {
    fn begin(folder: &'a Path, head: &Head) -> Result<Self> {
        files::create_folder(folder)?;
        Ok(Self { folder, journal: Journal::begin(folder, head)? })
    }

    /// Writes a report in all its forms.
    fn write(&self, checked: &Checked) -> Result<()> {
        if let Ok(report) = &checked.report {
            let files = [
                ("txt", text::write(report)),
                ("tap", tap::write(report)),
                ("xml", junit::write(report)?),
                ("json", points::write(report)),
                ("html", html::write(report, &|check| self.timeline(&checked.name, check))),
            ];
            for (extension, contents) in files {
                files::write(self.folder.join(format!("{}.{extension}", checked.name)), contents)?;
            }
        }
        self.journal.done(checked)
    }

    /// Where the timeline of a check is, seen from the reports, if it was kept.
    fn timeline(&self, name: &str, check: &str) -> Option<String> {
        let folder = recordings::folder_of(name);
        let kept = self.folder.join(&folder).join(format!("{check}.html")).exists();
        kept.then(|| format!("{}/{check}.html", html::address(&folder)))
    }
}

fn line(checked: &Checked) -> String {
    match &checked.report {
        Ok(report) => format!("{}: {} of {} points", checked.name, report.total(), report.max()),
        Err(error) => format!("{}: not checked: {error:#}", checked.name),
    }
}
