//! The steps, as they are in the folder `course/steps`.
//!
//! A step is a folder `NN-name` with
//!
//! | file | contents |
//! | --- | --- |
//! | `step.toml` | title, check, files ([`Step`]) |
//! | `page.md` | what the step is about and what to do |
//! | `hints.md` | up to three hints, with lines of `---` between them |
//! | `start/` | the files to begin with |
//! | `solution/` | the same files solved, and `wrong-turns.toml`; a teacher can leave this folder out |

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use lab::files;
use serde::{Deserialize, Serialize};

/// The most hints that a step has.
pub const MAX_HINTS: usize = 3;

/// A language that a device can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// C.
    C,
    /// Rust.
    Rust,
}

/// How the files of a step are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Answers to questions about the device.
    Answers,
    /// A program that reads RANDOM.
    ReadRandom,
    /// A program that seeds, too.
    Seed,
    /// A program with accesses of several sizes.
    AccessSizes,
    /// A program that uses the driver's ioctls.
    Application,
    /// A driver with the published ioctls.
    Driver,
    /// A driver with read().
    Read,
    /// A driver that waits for an interrupt.
    Interrupt,
    /// A driver that has its buffer filled by the device.
    Dma,
    /// A driver whose device goes away.
    Unplug,
    /// A device.
    Device,
    /// A device with an interrupt by MSI-X.
    MsixDevice,
    /// Functions in Rust.
    RustBasics,
}

/// `step.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Manifest {
    title: String,
    check: Check,
    files: Vec<String>,
    continues: Option<String>,
    language: Option<Language>,
}

/// A step of the course.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its folder's name: `02-read-random`.
    pub name: String,
    /// What it is about, in a few words.
    pub title: String,
    /// How it is checked.
    pub check: Check,
    /// The files that the student edits.
    pub files: Vec<String>,
    /// The step whose files this one begins with.
    pub continues: Option<String>,
    /// The language that the step is for; for all students if not said.
    pub language: Option<Language>,
    /// The page, in Markdown.
    pub page: String,
    /// The hints, the plainest last.
    pub hints: Vec<String>,
    folder: PathBuf,
}

/// A mistake that is easily made, as a change of the solution.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WrongTurn {
    /// The hint that speaks of it, from 1.
    pub hint: usize,
    /// The file that it is in; the step's only one if not said.
    pub file: Option<String>,
    /// What the solution has, once.
    pub replace: String,
    /// What stands there instead.
    pub by: String,
    /// What the check says about it, among others.
    pub says: String,
}

/// `wrong-turns.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrongTurns {
    #[serde(default)]
    wrong_turn: Vec<WrongTurn>,
}

/// Reads all steps of a folder, in their order.
pub fn all(folder: &Path) -> Result<Vec<Step>> {
    let entries = files::entries(folder)?;
    let paths = entries.iter().map(fs::DirEntry::path);
    let folders: Vec<PathBuf> = paths.filter(|path| path.join("step.toml").is_file()).collect();
    ensure!(!folders.is_empty(), "{} has no steps", folder.display());
    folders.iter().map(|folder| Step::read(folder)).collect()
}

/// Finds a step by its number (`2`), its name or the name's beginning.
pub fn find<'a>(steps: &'a [Step], wanted: &str) -> Result<&'a Step> {
    let number = wanted.parse::<u32>().ok();
    let fits = |step: &&Step| match number {
        Some(number) => step.number() == Some(number),
        None => {
            step.name.starts_with(wanted)
                || step.name.split_once('-').is_some_and(|(_, name)| name == wanted)
        }
    };
    steps.iter().find(fits).with_context(|| {
        let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
        format!("no step {wanted}; expected a number or one of {}", names.join(", "))
    })
}

impl Step {
    fn read(folder: &Path) -> Result<Self> {
        let name = folder.file_name().context("a step's folder has a name")?;
        let name = name.to_str().context("a step's name is in ASCII")?.to_owned();
        let read = |file: &str| files::read_text(folder.join(file));
        let manifest: Manifest = toml::from_str(&read("step.toml")?)
            .with_context(|| format!("invalid step.toml in {}", folder.display()))?;
        let hints: Vec<String> = read("hints.md")?
            .split("\n---\n")
            .map(|hint| hint.trim().to_owned())
            .filter(|hint| !hint.is_empty())
            .collect();
        if hints.is_empty() || hints.len() > MAX_HINTS {
            bail!("{name}: {} hints; expected 1 to {MAX_HINTS}", hints.len());
        }
        let Manifest { title, check, files, continues, language } = manifest;
        let page = read("page.md")?;
        let folder = folder.to_owned();
        Ok(Self { name, title, check, files, continues, language, page, hints, folder })
    }

    /// Its number.
    #[must_use]
    pub fn number(&self) -> Option<u32> {
        self.name.split_once('-')?.0.parse().ok()
    }

    /// The folder with the files to begin with.
    #[must_use]
    pub fn start(&self) -> PathBuf {
        self.folder.join("start")
    }

    /// The folder with the solved files; it may have been left out.
    #[must_use]
    pub fn solution(&self) -> PathBuf {
        self.folder.join("solution")
    }

    /// The mistakes that its hints speak of; none when the solution was left out.
    pub fn wrong_turns(&self) -> Result<Vec<WrongTurn>> {
        let path = self.solution().join("wrong-turns.toml");
        if !path.is_file() {
            return Ok(Vec::new());
        }
        let found: WrongTurns = toml::from_str(&files::read_text(&path)?)
            .with_context(|| format!("invalid {}", path.display()))?;
        Ok(found.wrong_turn)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lab::paths;

    use super::*;

    fn steps() -> Vec<Step> {
        all(&paths::checkout().join("course/steps")).expect("the steps can be read")
    }

    #[test]
    fn every_step_is_complete() {
        let steps = steps();
        assert!(steps.len() >= 12, "{} steps", steps.len());
        for (index, step) in steps.iter().enumerate() {
            let name = &step.name;
            assert_eq!(step.number().map(|number| number as usize), Some(index + 1), "{name}");
            assert!(!step.files.is_empty(), "{name} has no files");
            for file in &step.files {
                assert!(step.solution().join(file).is_file(), "{name} has no solved {file}");
                let given = step.start().join(file);
                match &step.continues {
                    None => assert!(given.is_file(), "{name} has no {file} to begin with"),
                    Some(before) => {
                        let before = find(&steps, before).expect("it is a step");
                        assert!(before.name < *name, "{name} continues a later step");
                        assert_eq!(before.files, step.files, "{name}");
                    }
                }
                let same = fs::read(given).ok() == fs::read(step.solution().join(file)).ok();
                assert!(!same, "{name}: the file to begin with is the solution");
            }
            assert!(step.page.starts_with(&format!("# {}\n", step.title)), "{name}");
        }
    }

    #[test]
    fn every_wrong_turn_is_a_change_of_the_solution_and_in_a_hint() {
        for step in steps() {
            let turns = step.wrong_turns().expect("they can be read");
            let hints: BTreeSet<usize> = turns.iter().map(|turn| turn.hint).collect();
            assert!(!turns.is_empty(), "{}: no hint speaks of a wrong turn", step.name);
            assert!(
                hints.iter().all(|hint| (1..=step.hints.len()).contains(hint)),
                "{}: {hints:?}",
                step.name
            );
            for turn in turns {
                let file = turn.file.as_ref().unwrap_or(&step.files[0]);
                let text = fs::read_to_string(step.solution().join(file)).expect("readable");
                let count = text.matches(&turn.replace).count();
                assert_eq!(count, 1, "{}: {:?} in {file}", step.name, turn.replace);
            }
        }
    }

    #[test]
    fn a_step_is_found_by_number_and_name() {
        let steps = steps();
        let found = |wanted: &str| find(&steps, wanted).map(|step| step.name.clone());
        assert_eq!(found("2").expect("there"), steps[1].name);
        assert_eq!(found("02").expect("there"), steps[1].name);
        assert_eq!(found(&steps[1].name).expect("there"), steps[1].name);
        assert_eq!(found(&steps[1].name[3..]).expect("there"), steps[1].name);
        assert!(found("99").expect_err("not there").to_string().contains("no step 99"));
        assert!(found("none").is_err());
    }
}
