//! The checker against submissions of its own: correct ones in different styles, which have to pass,
//! and one for each typical mistake, which has to fail where it is to fail, with the right hint.
//!
//! A submission is a folder of `checker/submissions/{drivers,apps,devices,hand-ins}` with an
//! `expected.toml`, and a `report.toml` when more than verdicts has to be right. One that differs from
//! another one in a few words says only that.
//!
//! `SUBMISSIONS=WORD,WORD cargo test -p checker --test submissions` runs those with one of the words in their
//! path, `SUBMISSIONS=each-check` as few as are needed for each check to be passed and failed. What a
//! student would see is in `target/lab/submissions`. A verdict that is not as expected gets a second try,
//! and the test says so: a hint can depend on where a guest was when a busy host held it up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use checker::check;
use checker::handed_in::Part;
use checker::profile::Profile;
use checker::report::{Report, Verdict, text};
use checker::submission::Submission;
use checker::tools::Tools;
use lab::{Arch, Choice, paths, progress};
use serde::Deserialize;

/// How many submissions are checked at once: one more than have guests on two processors, which is
/// built meanwhile.
const JOBS: usize = 3;
/// The environment variable with words of the paths to run, all if it is not set.
const VARIABLE: &str = "SUBMISSIONS";
/// Its value for those that show each check.
const EACH_CHECK: &str = "each-check";

/// What has to come out of a submission.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Expected {
    /// What is right or wrong with it.
    about: String,
    /// The profile it is for, in `checker/profiles`; the published device's if not said.
    profile: Option<String>,
    /// The profile's seconds for an application that has no end.
    app_seconds: Option<u64>,
    /// The submission that this one is like, but for each `change`.
    like: Option<String>,
    #[serde(default)]
    change: Vec<Change>,
    /// Why it is not for guests of other machines.
    x86_64_only: Option<String>,
    /// The checks that have to fail, and a part of the hint.
    #[serde(default)]
    fails: BTreeMap<String, String>,
    /// Checks that may fail in consequence.
    #[serde(default)]
    follows: Vec<String>,
    /// Checks that have to be skipped.
    #[serde(default)]
    skips: Vec<String>,
}

/// A change in one place of a submission's files, which has this text.
#[derive(Debug, Deserialize)]
struct Change {
    from: String,
    to: String,
}

/// Makes a copy of a submission's folder with changes in it.
fn copy_changed(changes: &[Change], from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).expect("the lab's folder is writable");
    let mut places = vec![0; changes.len()];
    for file in fs::read_dir(from).expect("the submission is there").flatten() {
        let mut text = fs::read_to_string(file.path()).expect("a submission's file is text");
        for (change, places) in changes.iter().zip(&mut places) {
            *places += text.matches(&change.from).count();
            text = text.replace(&change.from, &change.to);
        }
        fs::write(to.join(file.file_name()), text).expect("writable");
    }
    for (change, places) in changes.iter().zip(places) {
        assert_eq!(places, 1, "{}: {:?}", from.display(), change.from);
    }
}

/// What the report has to have beside the verdicts.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct InReport {
    /// All points.
    total: Option<u32>,
    /// The most points there are.
    max: Option<u32>,
    /// Parts of failures' details.
    #[serde(default)]
    details: BTreeMap<String, String>,
    /// Parts of what was noticed.
    #[serde(default)]
    notes: Vec<String>,
    /// Places of the parts that have to be found in a hand-in.
    #[serde(default)]
    found: Vec<String>,
    /// The parts that it lacks.
    #[serde(default)]
    missing: Vec<Part>,
    /// Parts of what has to be passed over.
    #[serde(default)]
    passed_over: Vec<String>,
}

#[test]
fn every_submission_gets_the_expected_verdicts() {
    let cases = cases();
    let profiles = cases.iter().map(|case| case.expected.profile.clone());
    let profiles: BTreeSet<Option<String>> = profiles.collect();
    let tools: BTreeMap<Option<String>, Tools> =
        profiles.into_iter().map(|name| (name.clone(), prepare(name.as_deref()))).collect();
    let queue = Mutex::new(cases.into_iter());
    let faults = Mutex::new(String::new());
    std::thread::scope(|scope| {
        for _ in 0..JOBS {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(case) = next else { return };
                    let tools = &tools[&case.expected.profile];
                    let mut found = case.check(tools);
                    if !found.1.is_empty() {
                        // The machine may have held a guest up in the middle of something.
                        progress::say(&format!("once more, because of {}", found.1.trim_end()));
                        found = case.check(tools);
                    }
                    let (short, long) = (&found.0, found.1.trim_end());
                    progress::say(&format!("{}: {short} {long}", case.name));
                    faults.lock().unwrap_or_else(PoisonError::into_inner).push_str(&found.1);
                }
            });
        }
    });
    let faults = faults.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(faults.is_empty(), "\n{faults}");
}

fn prepare(profile: Option<&str>) -> Tools {
    let profile = match profile {
        None => Profile::published(),
        Some(name) => Profile::read(&profiles().join(format!("{name}.toml"))),
    };
    let profile = profile.expect("it is a profile");
    check::prepare(profile, Choice::default()).expect("the lab works")
}

fn profiles() -> PathBuf {
    paths::checkout().join("checker/profiles")
}

/// A submission and what has to come out.
struct Case {
    name: String,
    /// Its folder, or the copy that was made of another one.
    place: PathBuf,
    submission: Submission,
    expected: Expected,
    in_report: InReport,
}

/// All of them that were asked for.
fn cases() -> Vec<Case> {
    let all = paths::checkout().join("checker/submissions");
    let words = std::env::var(VARIABLE).unwrap_or_default();
    let mut cases = Vec::new();
    for kind in ["drivers", "apps", "devices", "hand-ins"] {
        let entries = fs::read_dir(all.join(kind)).expect("the submissions are there");
        let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        folders.sort();
        let count = folders.len();
        let place = |number: usize| (2 * number + 1) * 1000 / (2 * count);
        let of_kind = (0..).zip(&folders);
        cases.extend(of_kind.map(|(number, folder)| (place(number), Case::read(kind, folder))));
    }
    // All kinds side by side: while the first device has the kit compiled, others go on.
    cases.sort_by_key(|(place, _)| *place);
    let mut cases: Vec<Case> = cases.into_iter().map(|(_, case)| case).collect();
    cases.retain(Case::is_for_guests);
    if words == EACH_CHECK {
        let mut seen = BTreeSet::new();
        cases.retain(|case| {
            case.shows().into_iter().filter(|what| seen.insert(what.clone())).count() > 0
        });
        return cases;
    }
    cases.retain(|case| words.split(',').any(|word| case.name.contains(word)));
    assert!(!cases.is_empty(), "{VARIABLE}={words}: no path has that in it");
    cases
}

/// Whether a submission has an address written in it as the device has one in an x86-64 guest. With other
/// guests it is judged as what it is then, a driver of something else.
fn knows_a_pcs_address(path: &Path) -> bool {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("the submissions are there");
        return entries.flatten().any(|entry| knows_a_pcs_address(&entry.path()));
    }
    let text = fs::read(path).expect("the submissions are there");
    String::from_utf8_lossy(&text).contains("0xfeb")
}

fn parse<T: serde::de::DeserializeOwned>(file: &Path) -> T {
    let text = fs::read_to_string(file);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

impl Case {
    /// Whether it is for the guests that there are.
    fn is_for_guests(&self) -> bool {
        if Arch::guest() == Arch::X86_64 {
            return true;
        }
        if let Some(reason) = &self.expected.x86_64_only {
            progress::say(&format!("{}: left out: {reason}", self.name));
            return false;
        }
        !knows_a_pcs_address(&self.place)
    }

    /// The checks that it shows to fail, or that all of its profile pass: for its kind, in C or in Rust.
    fn shows(&self) -> Vec<(String, bool, String)> {
        let (kind, name) = self.name.split_once('/').expect("the name is a path");
        let mut checks: Vec<String> = self.expected.fails.keys().cloned().collect();
        if checks.is_empty() {
            checks.push(format!("all of {:?}", self.expected.profile));
        }
        let shown = |check| (kind.to_owned(), name.starts_with("c-"), check);
        checks.into_iter().map(shown).collect()
    }

    fn read(kind: &str, folder: &Path) -> Self {
        let expected = folder.join("expected.toml");
        let in_report = folder.join("report.toml");
        let in_report = if in_report.is_file() { parse(&in_report) } else { InReport::default() };
        let expected: Expected = parse(&expected);
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let mut place = folder.to_path_buf();
        if let Some(like) = &expected.like {
            place = paths::lab().join("submissions").join(kind).join(&*name);
            copy_changed(&expected.change, &folder.with_file_name(like), &place);
        }
        let part = |of: &str| (kind == of).then(|| place.clone());
        let submission = match kind {
            "hand-ins" => Submission::find(&place),
            _ => Submission::named(part("drivers"), part("apps"), part("devices")),
        };
        Self {
            name: format!("{kind}/{name}"),
            place,
            submission: submission.expect("it is there"),
            expected,
            in_report,
        }
    }

    /// Checks it; what came out in short, and what is wrong with that.
    fn check(&self, tools: &Tools) -> (String, String) {
        let mut tools = tools.clone();
        tools.profile.seconds.app = self.expected.app_seconds.unwrap_or(tools.profile.seconds.app);
        let report = match check::check(&self.submission, &tools) {
            Ok(report) => report,
            Err(error) => return ("error".to_owned(), format!("{}: {error:#}\n", self.name)),
        };
        self.keep(&report);
        let faults = self.faults(&report);
        let seconds = report.took.as_secs();
        let word = if faults.is_empty() { "as expected" } else { "NOT as expected" };
        let mut said = String::new();
        if !faults.is_empty() {
            let _ = writeln!(said, "{} ({}):", self.name, self.expected.about);
            for fault in faults {
                let _ = writeln!(said, "    {fault}");
            }
        }
        (format!("{word}, {seconds} s"), said)
    }

    /// Writes down what a student would see, for who reads hints.
    fn keep(&self, report: &Report) {
        let folder = paths::lab().join("submissions");
        fs::create_dir_all(&folder).expect("the lab's folder is writable");
        let file = folder.join(format!("{}.txt", self.name.replace('/', "-")));
        fs::write(file, text::write(report)).expect("the lab's folder is writable");
    }

    /// What differs from what is expected.
    fn faults(&self, report: &Report) -> Vec<String> {
        let expected = &self.expected;
        let mut faults = Vec::new();
        for entry in &report.entries {
            let id = &entry.id;
            let message = entry.verdict.message();
            let right = match (&entry.verdict, expected.fails.get(id)) {
                (Verdict::Failed(_), Some(hint)) => message.contains(hint),
                (_, Some(_)) => false,
                (Verdict::Passed, None) => !expected.skips.contains(id),
                (Verdict::Failed(_), None) => expected.follows.contains(id),
                (Verdict::Skipped(_), None) => expected.skips.contains(id),
                // It says itself because of which failure.
                (Verdict::NotRun(_), None) => !expected.fails.is_empty(),
            };
            if !right {
                let wanted = match expected.fails.get(id) {
                    Some(hint) => format!(", and not failed with {hint:?}"),
                    None => String::new(),
                };
                faults.push(format!("{id} {}{wanted}: {message}", entry.verdict.word()));
            }
        }
        faults.extend(self.faults_of_the_rest(report));
        let known = |id: &&String| !report.entries.iter().any(|entry| entry.id == **id);
        let named = expected.fails.keys().chain(&expected.skips).chain(&expected.follows);
        faults.extend(named.filter(known).map(|id| format!("there is no check {id}")));
        faults
    }
    /// What differs beside the verdicts.
    fn faults_of_the_rest(&self, report: &Report) -> Vec<String> {
        let InReport { total, max, details, notes, found, missing, passed_over } = &self.in_report;
        let mut faults = Vec::new();
        if total.is_some_and(|total| total != report.total())
            || max.is_some_and(|max| max != report.max())
        {
            let (total, max) = (report.total(), report.max());
            faults.push(format!("{total} of {max} points, and not {:?}", self.in_report));
        }
        for (id, part) in details {
            let found = report.entries.iter().find(|entry| entry.id == *id);
            let said = found.map_or("", |entry| entry.verdict.details());
            if !said.contains(part) {
                faults.push(format!("{id} has no {part:?} in its details: {said}"));
            }
        }
        for part in notes {
            if !report.notes.iter().any(|note| note.contains(part)) {
                faults.push(format!("no note has {part:?}: {:?}", report.notes));
            }
        }
        let handed_in = &report.handed_in;
        if !found.is_empty() || !missing.is_empty() {
            let places: Vec<&String> = handed_in.found.iter().map(|(_, place)| place).collect();
            if places != found.iter().collect::<Vec<_>>() || handed_in.missing != *missing {
                faults.push(format!("other parts are found: {handed_in:?}"));
            }
        }
        for part in passed_over {
            if !handed_in.passed_over.iter().any(|line| line.contains(part)) {
                faults.push(format!("{part:?} is not passed over: {handed_in:?}"));
            }
        }
        faults
    }
}
