//! Puts the reports of several machines together, each of which has checked a part of a folder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lab::{files, progress};

use super::journal::{self, Done, Head};
use super::shard::Shard;
use super::{Checked, Journal};
use crate::report::{Report, points};

/// A run's folder of reports.
#[derive(Debug)]
struct Run {
    folder: PathBuf,
    head: Head,
    done: BTreeMap<String, Done>,
}

/// What came of all submissions of all parts, in the order in which one run would have them. What is
/// missing is named in the place of a report.
pub fn merge(folders: &[PathBuf], into: Option<&Path>) -> Result<Vec<Checked>> {
    let runs = folders.iter().map(|folder| Run::read(folder)).collect::<Result<Vec<Run>>>()?;
    let first = &runs.first().context("there is nothing to merge: name folders of reports")?.head;
    for run in &runs {
        run.ensure_fits(&runs[0])?;
    }
    say_repeated(&runs);
    let all = owners(first).map(|(shard, name)| one(&runs, shard, name));
    let all = all.collect::<Result<Vec<_>>>()?;
    if let Some(into) = into {
        write(into, first, &runs, &all)?;
    }
    Ok(all.into_iter().map(|(checked, _)| checked).collect())
}

impl Run {
    fn read(folder: &Path) -> Result<Self> {
        let (head, done) = journal::read(folder)?;
        let shard = head.shard;
        ensure!(
            Shard::new(shard.number(), shard.of()).is_some(),
            "{}: {shard} is no part of a folder",
            folder.display()
        );
        // The names become paths.
        if let Some(name) = head.submissions.iter().find(|name| !is_name(name)) {
            bail!("{}: {name:?} is no submission's name", folder.display());
        }
        let done = done.into_iter().map(|done| (done.submission.clone(), done)).collect();
        Ok(Self { folder: folder.to_owned(), head, done })
    }

    /// Checks that two runs are parts of the same.
    fn ensure_fits(&self, first: &Self) -> Result<()> {
        let (one, two) = (first.folder.display(), self.folder.display());
        let (head, expected) = (&self.head, &first.head);
        ensure!(
            head.profile == expected.profile,
            "{one} is of the profile {}, {two} of {}: merge runs of one exercise",
            expected.profile,
            head.profile
        );
        ensure!(
            head.shard.of() == expected.shard.of(),
            "{one} is one of {} shards, {two} one of {}: merge runs with one N",
            expected.shard.of(),
            head.shard.of()
        );
        let names = |head: &Head| head.submissions.iter().cloned().collect::<BTreeSet<_>>();
        let (ours, theirs) = (names(expected), names(head));
        if let Some(name) = ours.symmetric_difference(&theirs).next() {
            let there = if ours.contains(name) { one } else { two };
            bail!(
                "only the run of {there} has the submission {name}: all shards have to see the \
                 same folder of submissions"
            );
        }
        Ok(())
    }

    /// The report of a submission, if this run has one.
    fn report(&self, name: &str) -> Result<Option<Report>> {
        if self.done.get(name).is_none_or(|done| done.error.is_some()) {
            return Ok(None);
        }
        let path = self.folder.join(format!("{name}.json"));
        let report = points::read(&files::read_text(&path)?);
        report.with_context(|| format!("invalid report {}", path.display())).map(Some)
    }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

/// Each submission with the number of the shard that it is in.
fn owners(head: &Head) -> impl Iterator<Item = (u32, &str)> {
    let names = head.submissions.iter().map(String::as_str);
    (1..=head.shard.of()).cycle().zip(names)
}

/// Shards that were run more than once count once.
fn say_repeated(runs: &[Run]) {
    let mut seen: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for run in runs {
        let folders = seen.entry(run.head.shard.number()).or_default();
        folders.push(run.folder.display().to_string());
    }
    for (number, folders) in seen.iter().filter(|(_, folders)| folders.len() > 1) {
        progress::say(&format!("shard {number} counts once: {}", folders.join(", ")));
    }
}

/// What came of a submission, and the run that has its reports.
fn one<'a>(runs: &'a [Run], shard: u32, name: &str) -> Result<(Checked, Option<&'a Run>)> {
    let of_it: Vec<&Run> = runs.iter().filter(|run| run.head.shard.number() == shard).collect();
    let name = name.to_owned();
    for run in &of_it {
        if let Some(report) = run.report(&name)? {
            return Ok((Checked { name, report: Ok(report) }, Some(run)));
        }
    }
    let of = runs.first().map_or(1, |run| run.head.shard.of());
    let said = of_it.iter().find_map(|run| run.done.get(&name)?.error.clone());
    let error = match (said, of_it.first()) {
        (Some(error), _) => anyhow!(error),
        (None, Some(run)) => {
            anyhow!("the run of {} ended before it was done", run.folder.display())
        }
        (None, None) => anyhow!("shard {shard}/{of} is missing"),
    };
    Ok((Checked { name, report: Err(error) }, None))
}

/// Puts all reports into one folder, as one run would have written them.
fn write(into: &Path, head: &Head, runs: &[Run], all: &[(Checked, Option<&Run>)]) -> Result<()> {
    files::create_folder(into)?;
    let same = |run: &&Run| match (run.folder.canonicalize(), into.canonicalize()) {
        (Ok(one), Ok(two)) => one == two,
        _ => false,
    };
    if let Some(run) = runs.iter().find(same) {
        bail!(
            "{} is one of the folders to merge: name another one with --reports",
            run.folder.display()
        );
    }
    let head = Head { shard: Shard::WHOLE, ..head.clone() };
    let journal = Journal::begin(into, &head)?;
    for (checked, run) in all {
        if let Some(run) = run {
            copy_reports(&run.folder, &checked.name, into)?;
        }
        journal.done(checked)?;
    }
    Ok(())
}

/// Copies all files of a submission: those that begin with its name and a dot.
fn copy_reports(from: &Path, name: &str, into: &Path) -> Result<()> {
    let begin = format!("{name}.");
    for entry in files::entries(from)? {
        let file = entry.file_name();
        if file.to_string_lossy().starts_with(&begin) && entry.path().is_file() {
            files::copy(entry.path(), into.join(&file))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
