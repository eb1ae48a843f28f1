//! What each word behind `course.sh` does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use checker::report::{Verdict, plain};
use course::checks::{self, Bench};
use course::guests::Guests;
use course::pack::{self, Exercise};
use course::page::{self, BAD, GOOD, line, styled};
use course::progress::{self, Progress, StepProgress};
use course::step::{self, Step};
use course::watch::Changes;
use course::workspace::{DEFAULT_FOLDER, Workspace};
use lab::{RunDir, paths};

use crate::{Command, Grader, Options, Wanted};

/// How the student calls the program.
const CALLED: &str = "./scripts/course.sh";
/// How much of what a compiler or the kernel said is shown.
const SHOWN_LINES: usize = 20;

/// A student in the course.
struct Student {
    steps: Vec<Step>,
    progress: Progress,
    workspace: Workspace,
}

/// Does what was asked for; whether a check passed.
pub fn run(options: &Options) -> Result<bool> {
    if let Command::Pack { grader: Grader::Gradescope, profile, require, output } = &options.command
    {
        let exercise = Exercise { profile: profile.clone(), require: require.clone() };
        pack::gradescope(&paths::checkout(), &exercise, output)?;
        line(&format!(
            "{} is packed. Upload it as the assignment's autograder, with 100 autograder points.",
            output.display()
        ));
        return Ok(true);
    }
    let mut student = Student::open(options)?;
    match &options.command {
        Command::List => student.list(),
        Command::Next => student.next()?,
        Command::Watch(wanted) => student.watch(wanted)?,
        Command::Hint(wanted) => student.hint(wanted)?,
        Command::Reset(wanted) => student.reset(wanted)?,
        Command::Progress => student.summary(),
        Command::Check(wanted) => {
            let Some(step) = student.chosen(wanted)? else { return Ok(true) };
            student.workspace.begin(&step, &student.steps)?;
            return with_bench(|bench| student.check(&step, bench));
        }
        // It needs no student.
        Command::Pack { .. } => {}
        Command::Prepare => {
            with_bench(|bench| bench.prepare())?;
            line("Everything is there. The course needs no network from now on.");
        }
    }
    Ok(true)
}

/// Has a place for guests.
fn with_bench<T>(work: impl FnOnce(&mut Bench<'_>) -> Result<T>) -> Result<T> {
    let run = RunDir::create("course")?;
    work(&mut Bench::new(Guests::new(&run))?)
}

impl Student {
    fn open(options: &Options) -> Result<Self> {
        let steps = step::all(&paths::checkout().join("course/steps"))?;
        let mut progress = Progress::read(&progress::default_path()?)?;
        let before = progress.clone();
        if let Some(folder) = &options.folder {
            progress.folder = Some(absolute(folder)?);
        } else if progress.folder.is_none() {
            progress.folder = Some(absolute(Path::new(DEFAULT_FOLDER))?);
        }
        progress.language = options.language.or(progress.language);
        if progress != before {
            progress.write()?;
        }
        let folder = progress.folder.clone().context("it was chosen")?;
        Ok(Self { steps, progress, workspace: Workspace::new(folder) })
    }

    /// The step that the student means; nothing when all are passed.
    fn chosen(&self, wanted: &Wanted) -> Result<Option<Step>> {
        let step = match &wanted.step {
            Some(wanted) => Some(step::find(&self.steps, wanted)?),
            None => self.progress.next(&self.steps),
        };
        if step.is_none() {
            line("You have passed all steps.");
        }
        Ok(step.cloned())
    }

    fn list(&self) {
        let next = self.progress.next(&self.steps).map(|step| &step.name);
        for step in self.progress.steps_of(&self.steps) {
            let mark = match self.progress.of(step).passed {
                true => styled(GOOD, "x"),
                false if next == Some(&step.name) => ">".to_owned(),
                false => " ".to_owned(),
            };
            line(&format!("[{mark}] {:<26} {}", step.name, step.title));
        }
    }

    fn next(&mut self) -> Result<()> {
        let Some(step) = self.chosen(&Wanted { step: None })? else { return Ok(()) };
        self.show(&step)
    }

    /// Shows a step's page, with its files in place.
    fn show(&mut self, step: &Step) -> Result<()> {
        self.workspace.begin(step, &self.steps)?;
        self.progress.change(step, |_| ())?;
        page::print(&step.page);
        line("");
        for file in self.workspace.files(step) {
            line(&format!("Your file:      {}", shown(&file)));
        }
        line(&format!("Check it:       {CALLED} check"));
        line(&format!("At every save:  {CALLED} watch"));
        line(&format!("A hint:         {CALLED} hint"));
        Ok(())
    }

    fn hint(&mut self, wanted: &Wanted) -> Result<()> {
        let Some(step) = self.chosen(wanted)? else { return Ok(()) };
        let index = self.progress.of(&step).hints.min(step.hints.len() - 1);
        let more = step.hints.len() - index - 1;
        self.progress.change(&step, |progress| progress.hints = index + 1)?;
        page::print(&format!(
            "# Hint {} of {}\n\n{}",
            index + 1,
            step.hints.len(),
            step.hints[index]
        ));
        if more > 0 {
            line(&format!("\nThe next hint is plainer: {CALLED} hint"));
        }
        Ok(())
    }

    fn reset(&mut self, wanted: &Wanted) -> Result<()> {
        let Some(step) = self.chosen(wanted)? else { return Ok(()) };
        let kept = self.workspace.reset(&step, &self.steps)?;
        kept.iter().for_each(|old| line(&format!("Your file is now {}", shown(old))));
        self.progress.change(&step, |progress| *progress = StepProgress::default())?;
        line(&format!("{} begins anew.", step.name));
        Ok(())
    }

    fn summary(&self) {
        let steps = self.progress.steps_of(&self.steps);
        let passed = steps.iter().filter(|step| self.progress.of(step).passed).count();
        let hints: usize = steps.iter().map(|step| self.progress.of(step).hints).sum();
        let bar = "#".repeat(passed) + &"-".repeat(steps.len() - passed);
        line(&format!("[{bar}] {passed} of {} steps passed, {hints} hints used", steps.len()));
        if let Some(next) = self.progress.next(&self.steps) {
            line(&format!("Next: {} - {}", next.name, next.title));
        }
    }

    /// Checks a step and remembers when it passes.
    fn check(&mut self, step: &Step, bench: &mut Bench<'_>) -> Result<bool> {
        let verdict = checks::check(step, &self.workspace.of(step), bench)?;
        let passed = verdict.is_fine();
        if passed {
            line(&format!("{} {}", styled(GOOD, "passed"), step.title));
            self.progress.change(step, |progress| progress.passed = true)?;
            if let Some(next) = self.progress.next(&self.steps) {
                line(&format!("Next is {} - {}: {CALLED} next", next.name, next.title));
            }
        } else {
            line(&failure(step, &verdict));
        }
        Ok(passed)
    }

    /// Checks a step at every save, until the student ends it or all steps are passed.
    fn watch(&mut self, wanted: &Wanted) -> Result<()> {
        let Some(mut step) = self.chosen(wanted)? else { return Ok(()) };
        with_bench(|bench| {
            self.show(&step)?;
            loop {
                let changes = Changes::of(&self.workspace.files(&step))?;
                let passed = match self.check(&step, bench) {
                    Ok(passed) => passed,
                    // The student is not to lose the guest because of the lab's trouble.
                    Err(error) => {
                        eprintln!("course: {error:#}");
                        false
                    }
                };
                match self.progress.next(&self.steps) {
                    Some(next) if passed => {
                        step = next.clone();
                        line("");
                        self.show(&step)?;
                    }
                    None => {
                        line("You have passed all steps.");
                        return Ok(());
                    }
                    Some(_) => {}
                }
                // A change during the check is not lost, unless another step is on now.
                let files = self.workspace.files(&step);
                let changes = if changes.covers(&files) { changes } else { Changes::of(&files)? };
                line("Watching: save the file to have it checked, or end with Ctrl-C.");
                changes.wait()?;
            }
        })
    }
}

/// What is wrong, for a terminal.
fn failure(step: &Step, verdict: &Verdict) -> String {
    let width = page::width();
    let mut text = format!("{} {}\n", styled(BAD, "not yet"), step.title);
    text.push_str(&page::paragraph(&plain(&verdict.message()), "  ", "  ", width));
    for detail in plain(verdict.details()).lines().take(SHOWN_LINES) {
        text.push_str(&format!("\n  | {detail}"));
    }
    text.push_str(&format!("\nA hint: {CALLED} hint"));
    text
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).context("cannot find the current folder")
}

/// A path, relative to the current folder where it is in there.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path).display().to_string()
}
