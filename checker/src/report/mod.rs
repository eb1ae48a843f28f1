//! What came out of a submission: one value, and a writer for each reader of it.

pub mod gradescope;
pub mod html;
pub mod junit;
pub mod points;
pub mod tap;
pub mod text;

use std::time::Duration;

use crate::handed_in::HandedIn;

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Passed,
    /// Something is wrong.
    Failed(Failure),
    /// There is nothing to check, for this reason; it neither brings nor costs points.
    Skipped(String),
    /// It could not be checked, because of an earlier failure.
    NotRun(String),
}

/// What is before the reason of a check that was not run.
const NOT_RUN: &str = "not run, because ";

/// What is wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// For the student: what was seen, and what to look for.
    pub hint: String,
    /// What the compiler, the kernel or the program said; may be empty.
    pub details: String,
}

impl Failure {
    /// A failure that the hint says all about.
    #[must_use]
    pub fn new(hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), details: String::new() }
    }

    /// A failure by a fault that another check was failed for, where its hint is.
    #[must_use]
    pub fn same_cause(first: &str) -> Self {
        Self::new(format!("same cause as {first}"))
    }

    /// With the output of a compiler, the kernel or a program.
    #[must_use]
    pub fn with(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Verdict {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        matches!(self, Self::Passed | Self::Skipped(_))
    }

    /// In a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
            Self::NotRun(_) => "not run",
        }
    }

    /// The same without blanks, for machines.
    #[must_use]
    pub fn token(&self) -> String {
        self.word().replace(' ', "-")
    }

    /// The hint, or why there is none; empty when all is well.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Passed => String::new(),
            Self::Failed(failure) => failure.hint.clone(),
            Self::Skipped(reason) => reason.clone(),
            Self::NotRun(because) => format!("{NOT_RUN}{because}"),
        }
    }

    /// The output that goes with a failure.
    #[must_use]
    pub fn details(&self) -> &str {
        match self {
            Self::Failed(failure) => &failure.details,
            _ => "",
        }
    }
}

/// A check and how it ended.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its id, `driver-load`.
    pub id: String,
    /// What is checked, in a line.
    pub title: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What it is worth.
    pub worth: u32,
    /// How long it took.
    pub took: Duration,
}

impl Entry {
    /// The points that it brings.
    #[must_use]
    pub fn points(&self) -> u32 {
        if self.verdict == Verdict::Passed { self.worth } else { 0 }
    }

    /// The most points that it could bring.
    #[must_use]
    pub fn max(&self) -> u32 {
        if matches!(self.verdict, Verdict::Skipped(_)) { 0 } else { self.worth }
    }
}

/// All checks of a submission.
#[derive(Debug, Clone)]
pub struct Report {
    /// The submission's name.
    pub submission: String,
    /// The profile's name.
    pub profile: String,
    /// The guest's kernel.
    pub kernel: String,
    /// What was found in what was handed in, and what not.
    pub handed_in: HandedIn,
    /// What was noticed on the way.
    pub notes: Vec<String>,
    /// The checks, in their order.
    pub entries: Vec<Entry>,
    /// How long all of it took.
    pub took: Duration,
}

impl Report {
    /// Whether no check failed.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.entries.iter().all(|entry| entry.verdict.is_fine())
    }

    /// The points of all checks.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.entries.iter().map(Entry::points).sum()
    }

    /// The most points there are.
    #[must_use]
    pub fn max(&self) -> u32 {
        self.entries.iter().map(Entry::max).sum()
    }
}

/// A name in one line without the like.
#[must_use]
pub fn plain_line(name: &str) -> String {
    plain(name).replace(['\n', '\t'], " ")
}

/// Text without what a terminal or an XML parser would take for a command: escape sequences and
/// control characters.
#[must_use]
pub fn plain(text: &str) -> String {
    // The last ones turn the direction of writing round.
    let turns = |letter: &char| matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let kept =
        |letter: &char| matches!(letter, '\n' | '\t') || !letter.is_control() && !turns(letter);
    text.chars().filter(kept).collect()
}

#[cfg(test)]
pub(crate) mod examples {
    use super::*;
    use crate::handed_in::Part;

    /// A report with one of everything.
    pub fn report() -> Report {
        let entry = |id: &str, worth, verdict| Entry {
            id: id.to_owned(),
            title: format!("the title of {id}"),
            verdict,
            worth,
            took: Duration::from_millis(1500),
        };
        let failure = Failure::new("SEED got 0x1: write \"4\" bytes & <no> more")
            .with("a line\x1b[31m\x00\nanother: ]]> line\n");
        Report {
            submission: "ann".to_owned(),
            profile: "my_rng".to_owned(),
            kernel: "6.12".to_owned(),
            handed_in: HandedIn {
                found: vec![(Part::Driver, "driver".to_owned())],
                missing: vec![Part::App],
                notes: vec!["a.zip was unpacked".to_owned()],
                passed_over: vec!["b.rar: not unpacked".to_owned()],
            },
            notes: vec!["no MODULE_LICENSE: GPL added".to_owned()],
            entries: vec![
                entry("driver-build", 5, Verdict::Passed),
                entry("driver-seed-register", 10, Verdict::Failed(failure)),
                entry("driver-unload", 3, Verdict::Skipped("no module_exit".to_owned())),
                entry("driver-leaks", 2, Verdict::NotRun("driver-load failed".to_owned())),
            ],
            took: Duration::from_secs(6),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_had_nothing_to_check_counts_neither_way() {
        let report = examples::report();
        assert_eq!((report.total(), report.max()), (5, 17));
        assert!(!report.is_fine());
    }

    #[test]
    fn plain_text_has_lines_and_no_commands() {
        assert_eq!(plain("a\tb\n\x1b[1mc\x07\r\u{202e}d"), "a\tb\n[1mcd");
        assert_eq!(plain_line("ann\nok 2 - forged\x1b"), "ann ok 2 - forged");
    }
}
