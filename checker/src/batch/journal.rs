//! What a run has checked of a folder so far: `run.jsonl` beside its reports, a line of JSON for each
//! submission that is done. By it [`super::merge`] knows what a run that was ended has not reached.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::Checked;
use super::shard::Shard;
use lab::files;

/// The file's name. No report's name ends like this.
const NAME: &str = "run.jsonl";
/// The most bytes that are read of one.
const MAX_LEN: u64 = 64 << 20;

/// The first line: what is to be checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// The profile's name.
    pub profile: String,
    /// The part of the folder.
    pub shard: Shard,
    /// All submissions of the folder, also those of other parts.
    pub submissions: Vec<String>,
}

/// A further line: a submission that is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Its name.
    pub submission: String,
    /// Why it was not checked; without it, there is a report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Where it is in a folder of reports.
#[must_use]
pub fn path(reports: &Path) -> PathBuf {
    reports.join(NAME)
}

/// The file, while a run writes it.
#[derive(Debug)]
pub struct Journal {
    file: Mutex<File>,
    path: PathBuf,
}

impl Journal {
    /// Begins one in a folder of reports, in the place of one that is there.
    pub fn begin(reports: &Path, head: &Head) -> Result<Self> {
        let path = path(reports);
        let file =
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let journal = Self { file: Mutex::new(file), path };
        journal.line(head)?;
        Ok(journal)
    }

    /// Takes down what came of a submission, whose reports are written by now.
    pub fn done(&self, checked: &Checked) -> Result<()> {
        let error = checked.report.as_ref().err().map(|error| format!("{error:#}"));
        self.line(&Done { submission: checked.name.clone(), error })
    }

    fn line(&self, value: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_string(value).context("it is plain data")?;
        line.push('\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // At once, so that a run that is ended leaves whole lines.
        file.write_all(line.as_bytes())
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads the one of a folder of reports.
pub fn read(reports: &Path) -> Result<(Head, Vec<Done>)> {
    let path = path(reports);
    let size = fs::metadata(&path).map(|metadata| metadata.len()).with_context(|| {
        format!(
            "cannot read {}; expected a folder that `check.sh --submissions DIR --reports FOLDER` \
             has written",
            path.display()
        )
    })?;
    ensure!(size <= MAX_LEN, "{} is too large: {size} bytes", path.display());
    let text = files::read_text(&path)?;
    parse(&text).with_context(|| format!("invalid journal {}", path.display()))
}

fn parse(text: &str) -> Result<(Head, Vec<Done>)> {
    let mut lines = text.lines();
    let head = serde_json::from_str(lines.next().unwrap_or_default()).context("its first line")?;
    // The last line of a run that was killed may be cut.
    Ok((head, lines.map_while(|line| serde_json::from_str(line).ok()).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_line_is_a_submission_that_is_not_done() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let head = Head {
            profile: "my_rng".to_owned(),
            shard: Shard::new(2, 3).expect("it is one"),
            submissions: vec!["ann".to_owned(), "bob".to_owned()],
        };
        let journal = Journal::begin(folder.path(), &head).expect("writable");
        let lost = Checked { name: "bob".to_owned(), report: Err(anyhow::anyhow!("no disk")) };
        journal.done(&lost).expect("writable");
        let bob = Done { submission: "bob".to_owned(), error: Some("no disk".to_owned()) };
        assert_eq!(read(folder.path()).expect("it is right"), (head, vec![bob]));
        let text = fs::read_to_string(path(folder.path())).expect("readable");
        assert_eq!(parse(&text[..text.len() - 4]).expect("it has a head").1, []);
        assert!(parse("").is_err());
    }

    #[test]
    fn a_folder_without_one_is_named() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let error = format!("{:#}", read(folder.path()).expect_err("it is empty"));
        assert!(error.contains("run.jsonl; expected a folder that `check.sh"), "{error}");
    }
}
