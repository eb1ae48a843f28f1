//! A scripted newcomer walks through the course as a student does, with `course.sh watch`: tries the
//! file to begin with, takes each wrong turn that a hint speaks of, and saves the solution in the
//! end. One guest serves many steps.

use std::fs::{self, File};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use course::step::{self, Step};
use course::workspace;
use lab::{environment, paths, slots};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

const COURSE: &str = env!("CARGO_BIN_EXE_course");
/// How long a check may take on a loaded machine: the first one of a step may boot a guest, and
/// compile a device.
const WAIT_TIMEOUT: Duration = Duration::from_secs(900);

/// A student with a folder and progress of their own.
struct Newcomer {
    home: TempDir,
    steps: Vec<Step>,
}

impl Newcomer {
    /// With the steps before this one done.
    fn before(first: u32) -> Self {
        let steps = step::all(&paths::checkout().join("course/steps")).expect("readable");
        let newcomer = Self { home: tempfile::tempdir().expect("a folder can be made"), steps };
        let done = |step: &&Step| step.number().is_some_and(|number| number < first);
        let mut passed = Vec::new();
        for step in newcomer.steps.iter().filter(done) {
            newcomer.save_solution(step);
            passed.push(format!("\"{}\": {{\"passed\": true}}", step.name));
        }
        let progress = newcomer.home.path().join("my-rng-course/progress.json");
        fs::create_dir_all(progress.parent().expect("it has one")).expect("writable");
        fs::write(progress, format!("{{\"steps\": {{{}}}}}", passed.join(","))).expect("writable");
        newcomer
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(COURSE);
        command.args(arguments).current_dir(self.home.path()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", self.home.path());
        command
    }

    /// What a command prints.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("it can be started");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    }

    fn file(&self, step: &Step, file: &str) -> PathBuf {
        self.home.path().join(workspace::DEFAULT_FOLDER).join(&step.name).join(file)
    }

    fn save_solution(&self, step: &Step) {
        for file in &step.files {
            let solved = fs::read_to_string(step.solution().join(file)).expect("readable");
            save(&self.file(step, file), &solved);
        }
    }
}

/// Saves a file as an editor does: a new one takes its place.
fn save(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("it is in a folder")).expect("writable");
    let new = path.with_extension("saving");
    fs::write(&new, text).expect("writable");
    fs::rename(&new, path).expect("it can take its place");
}

/// `course.sh watch` at work.
struct Watch {
    child: Child,
    said: PathBuf,
    /// How much of its words was looked at.
    seen: usize,
    _slot: slots::Slot,
}

impl Watch {
    fn start(newcomer: &Newcomer) -> Self {
        environment::get().expect("the lab's environment can be made");
        let slot = slots::wait();
        let said = newcomer.home.path().join("said");
        let out = File::create(&said).expect("writable");
        let err = out.try_clone().expect("a file can be shared");
        let child = newcomer.command(&["watch"]).stdout(out).stderr(err).spawn();
        Self { child: child.expect("it can be started"), said, seen: 0, _slot: slot }
    }

    /// Waits until it waits for the next save, and returns what it said on the way.
    fn next(&mut self) -> String {
        let begun = Instant::now();
        loop {
            let said = fs::read_to_string(&self.said).expect("it is there");
            let new = said.get(self.seen..).unwrap_or_default();
            let end = ["Watching: save", "You have passed all steps."];
            if let Some(at) =
                end.iter().find_map(|words| new.find(words).map(|at| at + words.len()))
            {
                self.seen += at;
                return new[..at].to_owned();
            }
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "watch ended:\n{new}");
            assert!(begun.elapsed() < WAIT_TIMEOUT, "watch says nothing new:\n{new}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ctrl-C.
    fn interrupt(mut self) -> ExitStatus {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::INT).expect("it runs");
        self.child.wait().expect("it ends")
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Words without the line ends that a terminal's width has put between them.
fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Takes some steps, with all their wrong turns.
fn take(numbers: RangeInclusive<u32>) {
    let newcomer = Newcomer::before(*numbers.start());
    let mut watch = Watch::start(&newcomer);
    let wanted = |step: &&Step| step.number().is_some_and(|number| numbers.contains(&number));
    for step in newcomer.steps.iter().filter(wanted) {
        let begun = Instant::now();
        // The file of the first step is checked when the watch begins.
        if step.number() != Some(*numbers.start()) {
            let file = newcomer.file(step, &step.files[0]);
            save(&file, &fs::read_to_string(&file).expect("the page came with it"));
        }
        let said = watch.next();
        assert!(said.contains("not yet"), "{}, as it is given:\n{said}", step.name);
        for turn in step.wrong_turns().expect("readable") {
            let file = turn.file.as_ref().unwrap_or(&step.files[0]);
            let solved = fs::read_to_string(step.solution().join(file)).expect("readable");
            save(&newcomer.file(step, file), &solved.replacen(&turn.replace, &turn.by, 1));
            let said = unwrapped(&watch.next());
            let named = said.contains("not yet") && said.contains(&unwrapped(&turn.says));
            assert!(
                named,
                "{}: {:?} is not said about {:?}:\n{said}",
                step.name, turn.says, turn.by
            );
        }
        newcomer.save_solution(step);
        let said = watch.next();
        assert!(said.contains(&format!("passed {}", step.title)), "{}:\n{said}", step.name);
        println!("{}: {:.0} s", step.name, begun.elapsed().as_secs_f64());
    }
    let summary = newcomer.says(&["progress"]);
    assert!(summary.contains(&format!("{} of ", numbers.end())), "{summary}");
}

#[test]
fn a_newcomer_passes_the_steps_with_programs() {
    take(1..=5);
}

#[test]
fn a_newcomer_passes_the_steps_with_a_driver() {
    take(6..=7);
}

#[test]
fn a_newcomer_passes_the_steps_with_interrupts_and_dma() {
    take(8..=9);
}

#[test]
fn a_newcomer_passes_the_step_with_a_device_that_goes_away() {
    take(10..=10);
}

#[test]
fn a_newcomer_passes_the_steps_with_devices() {
    take(11..=13);
}

#[test]
fn progress_survives_an_interrupted_watch_and_hints_get_plainer() {
    let newcomer = Newcomer::before(1);
    let first = &newcomer.steps[0];
    assert!(newcomer.says(&["list"]).contains("[>] 01-meet-the-device"));
    let mut watch = Watch::start(&newcomer);
    assert!(watch.next().contains("not yet"));
    let hints: Vec<String> = (0..4).map(|_| newcomer.says(&["hint"])).collect();
    assert!(hints[0].starts_with("Hint 1 of 3") && hints[1].starts_with("Hint 2 of 3"));
    assert_eq!(hints[2], hints[3], "the last hint is the plainest");
    newcomer.save_solution(first);
    let said = watch.next();
    assert!(said.contains("passed Meet the device") && said.contains("Read RANDOM"), "{said}");
    assert_eq!(watch.interrupt().code(), Some(128 + 2));
    assert!(newcomer.says(&["progress"]).contains("1 of 13 steps passed, 3 hints used"));
    assert!(newcomer.says(&["list"]).contains("[>] 02-read-random"));
    let page = newcomer.says(&["next"]);
    assert!(page.starts_with("Read RANDOM\n"), "{page}");
    // The student's own file stays, under another name.
    save(&newcomer.file(first, "answers.toml"), "mine");
    assert!(newcomer.says(&["reset", "1"]).contains("answers.toml.old"));
    let kept = fs::read_to_string(newcomer.file(first, "answers.toml.old")).expect("it is there");
    assert_eq!(kept, "mine");
    assert!(newcomer.says(&["check"]).contains("not yet Meet the device"));
    assert!(newcomer.says(&["--language", "c", "list"]).lines().count() < newcomer.steps.len());
    assert!(
        newcomer.says(&["check", "none"]).contains("no step none; expected a number or one of")
    );
}
