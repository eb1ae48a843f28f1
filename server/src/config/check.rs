//! Validates what a file says, and makes a [`Configuration`] of it.
//!
//! Everything that is wrong is noted, not only the first thing, so that one
//! look at the list is enough to correct the file. An invalid value is replaced by a default, and the
//! rest is checked all the same.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::classes::{self, ClassError};
use super::file::{File, GroupTable, GuestTables, SourceTable};
use super::known_names::KnownNames;
use super::{Configuration, Group, Problem, SharedSource};
use entropy::bandwidth::Bandwidth;
use entropy::health::HealthMode;
use entropy::source::{Specification, SpecificationError};

/// Longest path of a socket, `sun_path` in unix(7) less the zero at its end.
const MAX_SOCKET_PATH_LEN: usize = 107;

/// Makes a configuration of a file; `line_of` tells the line of an offset in the file.
pub(super) fn configuration(
    file: File,
    guests: GuestTables<'_>,
    line_of: impl Fn(usize) -> usize,
) -> Result<Configuration, Vec<Problem>> {
    let mut validator = Validator { line_of, problems: Vec::new(), taken: HashMap::new() };
    let sources: Vec<_> = file.sources.into_iter().map(|table| validator.source(table)).collect();
    let groups = validator.groups(file.groups, &sources);
    let roots = sources.iter().map(|source| source.name.as_str());
    let classes: HashSet<&str> =
        roots.chain(groups.iter().map(|group| group.name.as_str())).collect();
    let known = KnownNames::new(classes);
    if let Some(path) = &file.control_socket {
        validator.socket("control-socket", path);
    }
    let guests = guests.into_iter().filter_map(|table| validator.guest(table, &known)).collect();
    let configuration = Configuration {
        control_socket: file.control_socket.map(Spanned::into_inner),
        status_file: file.status_file,
        state_file: file.state_file,
        sources,
        groups,
        guests,
    }
    .with_states_kept();
    let mut problems = validator.problems;
    for ClassError { kind, name, reason } in classes::class_errors(&configuration) {
        let line = validator.taken.get(&(kind, name.into())).copied().unwrap_or(1);
        problems.push(Problem { line, reason });
    }
    if problems.is_empty() {
        return Ok(configuration);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

/// Notes what is wrong.
pub(super) struct Validator<L> {
    line_of: L,
    problems: Vec<Problem>,
    /// Of what there can be one only, so far: what it is, its name, and in which line it is.
    taken: HashMap<(&'static str, PathBuf), usize>,
}

impl<L: Fn(usize) -> usize> Validator<L> {
    fn line<T>(&self, at: &Spanned<T>) -> usize {
        (self.line_of)(at.span().start)
    }

    pub(super) fn note<T>(&mut self, at: &Spanned<T>, reason: impl Display) {
        self.note_at(at.span().start, reason);
    }

    /// Notes what is wrong at an offset in the file.
    pub(super) fn note_at(&mut self, offset: usize, reason: impl Display) {
        let line = (self.line_of)(offset);
        self.problems.push(Problem { line, reason: reason.to_string() });
    }

    /// Takes what was made of a value, or notes what is wrong with it.
    pub(super) fn valid<T, V, E: Display>(
        &mut self,
        at: &Spanned<V>,
        key: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.note(at, format!("invalid {key}: {error}"))).ok()
    }

    /// Notes a name that is invalid, or in use.
    pub(super) fn name(&mut self, kind: &'static str, name: &Spanned<String>) -> String {
        let text = name.get_ref();
        if text.is_empty() || text.chars().any(char::is_control) {
            self.note(
                name,
                format!("invalid name: {text:?}; expected text without control characters"),
            );
        }
        self.only_once(kind, name, Path::new(text));
        text.clone()
    }

    /// The same for a name by which guests ask for a source.
    fn class_name(&mut self, name: &Spanned<String>) -> String {
        let text = name.get_ref();
        if text.contains(':') || text.parse::<Specification>().is_ok() {
            self.note(
                name,
                format!("invalid name: {text:?}; it has the form of a guest's own source"),
            );
        }
        self.name("source or group", name)
    }

    fn only_once<T>(&mut self, kind: &'static str, at: &Spanned<T>, name: &Path) {
        let line = self.line(at);
        if let Some(earlier) = self.taken.insert((kind, name.into()), line) {
            let name = name.display();
            self.note(at, format!("{name:?} is in use: it is the {kind} of line {earlier}"));
        }
    }

    fn source(&mut self, table: SourceTable) -> SharedSource {
        let name = self.class_name(&table.name);
        let source = specification(table.source.get_ref(), table.file_loop);
        let source = self.valid(&table.source, "source", source).unwrap_or_default();
        let health = table.health.and_then(|health| {
            let mode = health.get_ref().parse::<HealthMode>();
            self.valid(&health, "health", mode)
        });
        let source = source.tested(health.unwrap_or_default());
        let bandwidth = table.bandwidth.into();
        SharedSource { name, source, bandwidth, overcommit: table.overcommit }
    }

    /// The groups, in an order in which each is behind its parent.
    fn groups(&mut self, tables: Vec<GroupTable>, sources: &[SharedSource]) -> Vec<Group> {
        let mut known: HashSet<String> = sources.iter().map(|source| source.name.clone()).collect();
        for table in &tables {
            self.class_name(&table.name);
        }
        let (mut ordered, mut left) = (Vec::new(), tables);
        loop {
            let (next, orphans): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|table| known.contains(table.parent.get_ref()));
            left = orphans;
            if next.is_empty() {
                break;
            }
            for table in next {
                known.insert(table.name.get_ref().clone());
                ordered.push(Group {
                    name: table.name.into_inner(),
                    parent: table.parent.into_inner(),
                    bandwidth: table.bandwidth.map(Bandwidth::from).unwrap_or_default(),
                    overcommit: table.overcommit,
                });
            }
        }
        for orphan in left {
            let parent = orphan.parent.get_ref();
            let reason = format!(
                "invalid parent: {parent:?}; expected the name of a [[source]] or [[group]] above this one"
            );
            self.note(&orphan.parent, reason);
        }
        ordered
    }

    pub(super) fn socket(&mut self, key: &str, path: &Spanned<PathBuf>) {
        let length = path.get_ref().as_os_str().len();
        if !(1..=MAX_SOCKET_PATH_LEN).contains(&length) {
            let reason = format!(
                "invalid {key}: a path of {length} bytes; expected 1 to {MAX_SOCKET_PATH_LEN}"
            );
            self.note(path, reason);
        }
        self.only_once("socket", path, path.get_ref());
    }
}

fn specification(text: &str, file_loop: bool) -> Result<Specification, SpecificationError> {
    let parsed = text.parse::<Specification>()?;
    if file_loop { parsed.repeating() } else { Ok(parsed) }
}

/// What is wrong with a key, in our words: serde says what it found and what it expected.
pub(super) fn reason(key: &str, error: &toml::de::Error) -> String {
    let message = error.message();
    let message = message
        .strip_prefix("invalid type: ")
        .or_else(|| message.strip_prefix("invalid value: "))
        .map_or(Cow::Borrowed(message), |found| found.replace(", expected ", "; expected ").into());
    format!("invalid {key}: {message}")
}
