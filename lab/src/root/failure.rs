//! Why packages could not be had, from what mmdebstrap and apt said.
//!
//! The words of a program are for people. They decide here only whether another try is worth its
//! time and which advice is shown; words that are not known lead to the next suite.

use super::MIRROR_VARIABLE;

/// How many lines of apt's errors are shown.
const SHOWN_LINES: usize = 4;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The mirror was not reached.
    Unreachable,
    /// The mirror lists a file that it does not have, or another than it lists: it is being
    /// updated, or it is broken.
    NotFetched,
    /// The mirror's list of packages is older than it says it may be.
    Expired,
    /// The mirror does not have the suite.
    NoSuite,
    /// Anything else; a package that the suite does not have, in particular.
    Other,
}

/// What apt says, in lower case, of each kind; the first that is found counts.
const WORDS: [(&str, Kind); 14] = [
    ("is expired", Kind::Expired),
    ("is not valid yet", Kind::Expired),
    ("does not have a release file", Kind::NoSuite),
    ("no longer has a release file", Kind::NoSuite),
    ("404  not found", Kind::NotFetched),
    ("403  forbidden", Kind::NotFetched),
    ("hash sum mismatch", Kind::NotFetched),
    ("unexpected size", Kind::NotFetched),
    ("could not resolve", Kind::Unreachable),
    ("temporary failure resolving", Kind::Unreachable),
    ("could not connect", Kind::Unreachable),
    ("unable to connect", Kind::Unreachable),
    ("unreachable", Kind::Unreachable),
    ("timed out", Kind::Unreachable),
];

/// A failed try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its kind.
    pub kind: Kind,
    /// What the programs said, in a few lines.
    pub said: Vec<String>,
}

impl Failure {
    /// Understands a log.
    pub fn of(log: &[String]) -> Self {
        let said = [is_error, is_failed_file]
            .into_iter()
            .map(|wanted| shown(log.iter().filter(|line| wanted(line))))
            .find(|said| !said.is_empty())
            .unwrap_or_else(|| shown(log.iter().skip(log.len().saturating_sub(SHOWN_LINES))));
        let all = log.join("\n").to_lowercase();
        let kind = WORDS.iter().find(|(words, _)| all.contains(words));
        Self { kind: kind.map_or(Kind::Other, |(_, kind)| *kind), said }
    }

    /// A root that came without what it is for.
    pub fn incomplete(lack: &anyhow::Error) -> Self {
        Self { kind: Kind::Other, said: vec![format!("the packages came, but {lack:#}")] }
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        match self.kind {
            Kind::Unreachable => format!(
                "Is there a network? Then run this again; behind a proxy set http_proxy=URL, and \
                 for another Debian mirror {MIRROR_VARIABLE}=URL."
            ),
            Kind::NotFetched => format!(
                "The mirror is being updated, or it is incomplete: run this again in an hour, or \
                 name another mirror with {MIRROR_VARIABLE}=URL."
            ),
            Kind::Expired => format!(
                "The mirror's lists are out of date, or this machine's clock is wrong: check \
                 `date`, or name another mirror with {MIRROR_VARIABLE}=URL."
            ),
            Kind::NoSuite | Kind::Other => {
                format!("Another mirror may have it: name one with {MIRROR_VARIABLE}=URL.")
            }
        }
    }

    /// The lines for a person, indented.
    pub fn lines(&self) -> String {
        self.said.iter().map(|line| format!("    {line}\n")).collect()
    }
}

/// The first few of some lines, each once.
fn shown<'a>(lines: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut shown: Vec<String> = Vec::new();
    for line in lines {
        if !shown.contains(line) && shown.len() < SHOWN_LINES {
            shown.push(line.clone());
        }
    }
    shown
}

/// Whether a line is an error of apt's, and not mmdebstrap's summary of one.
fn is_error(line: &str) -> bool {
    line.starts_with("E: ") && !SUMMARIES.iter().any(|summary| line.contains(summary))
}

/// What apt and mmdebstrap say after they have said what went wrong.
const SUMMARIES: [&str; 6] = [
    "apt download failed",
    "process exited",
    "mmdebstrap failed to run",
    "apt-get update --",
    "Some index files failed",
    "Unable to fetch some archives",
];

/// Whether a line of apt's names a file that did not come.
fn is_failed_file(line: &str) -> bool {
    line.trim_start().starts_with("Err:")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(log: &str) -> Failure {
        Failure::of(&log.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn errors_are_told_from_other_lines_and_shown_once() {
        let failure = failure(
            "I: running apt-get update...\nE: Unable to locate package qemu\n\
             E: Unable to locate package qemu\nE: apt-get failed: process exited with 100",
        );
        assert_eq!(failure.said, ["E: Unable to locate package qemu"]);
        assert_eq!(failure.kind, Kind::Other);
    }

    #[test]
    fn a_log_without_errors_shows_its_end() {
        assert_eq!(failure("one\ntwo").said, ["one", "two"]);
    }

    #[test]
    fn kinds_are_told_apart() {
        let kinds = [
            ("E: Release file for http://m/dists/a is expired (invalid since 1d)", Kind::Expired),
            ("E: The repository 'http://m a Release' does not have a Release file.", Kind::NoSuite),
            ("E: Failed to fetch http://m/a.deb  404  Not Found", Kind::NotFetched),
            ("W: Failed to fetch Temporary failure resolving 'm'", Kind::Unreachable),
        ];
        for (line, kind) in kinds {
            assert_eq!(failure(line).kind, kind, "{line}");
        }
    }
}
