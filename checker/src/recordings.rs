//! What a driver or a guest did to the device during a check, from the recordings of its server.
//!
//! A device on the kit records its sessions (`--record`). The recording of a run is cut into those of
//! the checks by their times; a check that failed shows the register accesses that led to it.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use lab::{RunDir, files};
use rustix::fs::{Mode, OFlags, open};
use vfio_user_device::recording::{File, now};
use vfio_user_trace::{Access, Entry as Line, Filter, Kind, Trace, html};

use crate::profile::{Profile, RegisterKind};
use crate::report::{Entry, Verdict};

/// The option of our server that has it record, and where.
pub const OPTIONS: [&str; 4] = ["--record", "my-rng.rec", "--record-limit", "16777216"];
/// The same for a student's device, which may know no such option.
pub const ENVIRONMENT: [(&str, &str); 2] =
    [("VFIO_USER_RECORD", "recording"), ("VFIO_USER_RECORD_LIMIT", "16777216")];
/// How the names of recordings end.
const EXTENSION: &str = "rec";
/// Where the recordings of a run's checks go.
const FOLDER: &str = "recordings";
/// The longest recording that is read.
const MAX_LEN: u64 = 20 << 20;
/// The beginning of what is told about accesses.
const SAW: &str = "the device saw ";
/// The most lines about accesses in a report.
const SHOWN: usize = 12;
/// The most entries on a page, the last ones.
const ON_PAGE: usize = 20_000;
/// How long a recording may take from an access to the file.
pub const DELAY: Duration = Duration::from_millis(100);

/// When a check was on, by the clock of recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    from: u64,
    to: u64,
}

impl Span {
    /// The time that has passed since a check began.
    #[must_use]
    pub fn of_last(took: Duration) -> Self {
        let to = now();
        Self { from: to.saturating_sub(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)), to }
    }
}

/// Where a student's device has its recording, in the folder that it may write to.
#[must_use]
pub fn of_device(folder: &Path) -> PathBuf {
    folder.join(ENVIRONMENT[0].1)
}

/// Takes a student's recording out of a folder that was the student's. What is no plain file is left
/// there.
pub fn take(folder: &Path, to: &Path) {
    let from = of_device(folder);
    if fs::symlink_metadata(&from).is_ok_and(|found| found.is_file()) {
        // A report without it is a report.
        let _ = fs::rename(from, to.with_extension(EXTENSION));
    }
}

/// A failure with the last accesses that the device of a run saw in that time.
#[must_use]
pub fn explained(verdict: Verdict, run: &RunDir, span: Span, profile: &Profile) -> Verdict {
    let Verdict::Failed(mut failure) = verdict else { return verdict };
    if find(run.path()).is_empty() {
        return Verdict::Failed(failure);
    }
    std::thread::sleep(DELAY);
    for (_, trace) in find(run.path()).iter().filter_map(|bytes| part(bytes, span)) {
        let gap = if failure.details.is_empty() { "" } else { "\n" };
        let details = failure.details.trim_end();
        failure.details = format!("{details}{gap}{}", words(&trace, profile));
    }
    Verdict::Failed(failure)
}

/// What was said about a failure, without the accesses.
#[must_use]
pub fn said(details: &str) -> &str {
    details.split(SAW).next().unwrap_or_default()
}

/// Cuts the recordings of a run into those of its checks.
pub fn keep_all(entries: &[Entry], spans: &[Span], run: &RunDir) -> Result<()> {
    let recordings = find(run.path());
    let folder = run.path().join(FOLDER);
    if !recordings.is_empty() {
        files::create_folder(&folder)?;
    }
    for (entry, span) in entries.iter().zip(spans) {
        for (cut, trace) in recordings.iter().filter_map(|bytes| part(bytes, *span)) {
            keep(&folder, entry, &cut, &trace)?;
        }
    }
    Ok(())
}

/// The part of a recording in which registers were accessed in that time.
fn part(bytes: &[u8], span: Span) -> Option<(Vec<u8>, Trace)> {
    let cut = File::cut(bytes, span.from, span.to).ok()?;
    let trace = Trace::of(File::from_bytes(&cut).ok()?);
    trace.entries.iter().any(|line| line.kind == Kind::Register).then_some((cut, trace))
}

/// The recordings in a run's folder, and in those of students' devices that run.
fn find(folder: &Path) -> Vec<Vec<u8>> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = files.map(|file| file.path()).collect();
    paths.sort();
    let recorded = |path: &PathBuf| {
        if path.extension().is_some_and(|extension| extension == EXTENSION) {
            read(path)
        } else {
            read(&of_device(path))
        }
    };
    paths.iter().filter_map(recorded).collect()
}

/// Reads a file that may be a student's, and so anything: a link is not followed, nothing but a plain
/// file is read.
fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = fs::File::from(open(path, flags, Mode::empty()).ok()?);
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_LEN).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn keep(folder: &Path, entry: &Entry, cut: &[u8], trace: &Trace) -> Result<()> {
    files::write(folder.join(format!("{}.{EXTENSION}", entry.id)), cut)?;
    if matches!(entry.verdict, Verdict::Failed(_)) {
        let filter = Filter { last: Some(ON_PAGE), ..Filter::default() };
        let lines = filter.choose(&trace.entries);
        let page = html::write(trace, &lines, &format!("{}: {}", entry.id, entry.title));
        files::write(folder.join(format!("{}.html", entry.id)), page)?;
    }
    Ok(())
}

/// The folder of a submission's recordings among the reports.
#[must_use]
pub fn folder_of(submission: &str) -> String {
    format!("{submission}.recordings")
}

/// Moves what a run has kept to a submission's folder.
pub fn store(run: &RunDir, to: Option<&Path>) -> Result<()> {
    let (from, Some(to)) = (run.path().join(FOLDER), to) else { return Ok(()) };
    if !from.exists() {
        return Ok(());
    }
    files::create_folder(to)?;
    for file in files::entries(&from)? {
        files::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

/// The last accesses of a check, with the profile's names where the device has none. Many of the same
/// sort are one line.
fn words(trace: &Trace, profile: &Profile) -> String {
    let filter = Filter { kinds: vec![Kind::Register], ..Filter::default() };
    let accesses = filter.choose(&trace.entries);
    let groups: Vec<_> = accesses.chunk_by(|one, other| alike(one, other)).collect();
    let shown = groups.get(groups.len().saturating_sub(SHOWN)..).unwrap_or_default();
    let mut lines = vec![format!("{SAW}{} accesses in this check:", accesses.len())];
    if shown.len() < groups.len() {
        lines.push("  ...".to_owned());
    }
    for group in shown {
        let (line, more) = match group {
            [one] => (one, String::new()),
            many => (&many[0], format!(", and {} more like it", many.len() - 1)),
        };
        lines.push(format!("  {}{more}{}", access(line, profile), advice(line, profile)));
    }
    lines.join("\n")
}

/// Whether two accesses differ in what was read alone.
fn alike(first: &Line, other: &Line) -> bool {
    let place = |line: &Line| (line.access, line.region, line.offset, line.bytes, line.error);
    let same_value = first.access == Some(Access::Read) || first.value == other.value;
    place(first) == place(other) && same_value
}

/// "wrote RANDOM (0x0, 4 bytes) <- 0x7".
fn access(line: &Line, profile: &Profile) -> String {
    let offset = line.offset.unwrap_or(0);
    let bytes = line.bytes.unwrap_or(0);
    let name = name(line, profile);
    let (verb, arrow) = match line.access {
        Some(Access::Write) => ("wrote", "<-"),
        _ => ("read", "->"),
    };
    let plural = if bytes == 1 { "" } else { "s" };
    let place = format!("{verb} {name} ({offset:#x}, {bytes} byte{plural})");
    match line.error {
        0 => format!("{place} {arrow} {}", line.value),
        error => format!("{place}: errno {error}"),
    }
}

/// The register's name, "SEED+2" inside of it; the device's own, where the profile has none.
fn name(line: &Line, profile: &Profile) -> String {
    let offset = usize::try_from(line.offset.unwrap_or(0)).unwrap_or(usize::MAX);
    match profile.register_at(offset).filter(|_| line.region == Some(0)) {
        Some(register) if register.offset == offset => register.name.clone(),
        Some(register) => format!("{}+{}", register.name, offset - register.offset),
        None => line.name.clone(),
    }
}

/// Where a write should have gone that went to nothing that keeps it.
fn advice(line: &Line, profile: &Profile) -> String {
    let offset = usize::try_from(line.offset.unwrap_or(0)).unwrap_or(usize::MAX);
    let keeps_none = [RegisterKind::Random, RegisterKind::HighHalf, RegisterKind::ReadsZero];
    let takes_writes =
        profile.register_at(offset).is_some_and(|found| !keeps_none.contains(&found.kind));
    match profile.seed_register() {
        Ok(seed) if line.access == Some(Access::Write) && !takes_writes => {
            format!(": the seed register is {} at {:#x}", seed.name, seed.offset)
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
