//! The checks of an application: it runs beside our own driver, as the user `nobody`, and the device's log
//! says which numbers it got.

mod output;

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use exerciser::{End, Job, MAX_OUTPUT, MAX_PRINTED, Outcome};
use lab::RunDir;

use super::Recorder;
use crate::access_log::{Access, Kind, numbers_of};
use crate::build::{self, Linking};
use crate::guest::{Attached, Bench, Setup};
use crate::profile::{IoctlKind, Profile};
use crate::report::{Entry, Failure};
use crate::stop::{Checked, Stop};
use crate::tools::Tools;
use output::printed;

const BUILD: (&str, &str) = ("app-build", "it compiles");
const RUNS: (&str, &str) = ("app-runs", "it runs to its end");
const NUMBERS: (&str, &str) = ("app-numbers", "it prints the numbers of the device");
const ROUNDS: (&str, &str) =
    ("app-rounds-repeat", "two rounds of the same seed print equal numbers");

/// What an application left behind.
struct Seen {
    outcome: Outcome,
    rounds: Vec<Round>,
    /// How many of the profile's seconds it had.
    seconds: u64,
}

/// An application that drew so many numbers gets so much longer, once.
const MANY: usize = 20_000;
const LONGER: u64 = 4;

/// The numbers after a seed.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    /// The seed; nothing for numbers before the first one.
    seed: Option<u64>,
    numbers: Vec<u64>,
}

/// The ids of its checks.
pub fn ids() -> Vec<String> {
    [BUILD, RUNS, NUMBERS, ROUNDS].map(|(id, _)| id.to_owned()).into()
}

/// Builds and checks an application.
pub fn check_app(source: &Path, tools: &Tools, run: &RunDir, work: &Path) -> Result<Vec<Entry>> {
    let mut recorder = Recorder::new(&tools.profile, &tools.listener, run);
    let built = recorder.check(BUILD.0, BUILD.1, || build::app(source, work, Linking::Static))?;
    let Some(program) = built else {
        for (id, title) in [RUNS, NUMBERS, ROUNDS] {
            recorder.not_run(id, title, "app-build failed");
        }
        return recorder.finish();
    };
    let mut seen = None;
    recorder.check(RUNS.0, RUNS.1, || {
        let found = seen.insert(run_app(&program, tools, run)?);
        ended_well(found)
    })?;
    // One that ended by itself can be looked at, whatever its exit status.
    match seen.filter(|seen| matches!(seen.outcome.end, End::Exited(_))) {
        Some(seen) => {
            let least = tools.profile.app.numbers;
            recorder
                .check(NUMBERS.0, NUMBERS.1, || printed(&seen.rounds, &seen.outcome.said, least))?;
            recorder.check(ROUNDS.0, ROUNDS.1, || repeats(&seen.rounds, least))?;
        }
        None => {
            for (id, title) in [NUMBERS, ROUNDS] {
                recorder.not_run(id, title, "app-runs failed");
            }
        }
    }
    recorder.finish()
}

/// A guest with the application and a driver that is loaded.
fn guest<'run>(program: &Path, tools: &'run Tools, run: &'run RunDir) -> Result<Bench<'run>, Stop> {
    let files = [("root/driver.ko", tools.driver.as_path()), ("usr/bin/app", program)];
    let setup = Setup::of(tools, run, &files);
    let mut bench = Bench::new(setup, Attached::of(tools, run)?);
    bench.boot()?;
    let node = &tools.profile.driver.node;
    let ready =
        bench.shell(&format!("insmod /root/driver.ko && chmod 666 {node} && echo ready"))?;
    if !ready.ends_with("ready\n") {
        return Err(Stop::Lab(anyhow!("the driver for applications does not load: {ready}")));
    }
    Ok(bench)
}

fn run_app(program: &Path, tools: &Tools, run: &RunDir) -> Result<Seen, Stop> {
    let profile = &tools.profile;
    let mut bench = guest(program, tools, run)?;
    let mut command = vec!["/usr/bin/app".to_owned()];
    command.extend(profile.app.arguments.iter().cloned());
    let job = Job::Program { command, input: profile.app.input.clone(), confined: true };
    let mut seconds = profile.seconds.app;
    loop {
        let mark = bench.log_length();
        let outcome = bench.exercise_once(job.clone(), seconds)?;
        let accesses = bench.accesses_since(mark);
        let seen = Seen { outcome, rounds: rounds(profile, &accesses)?, seconds };
        // One that draws and draws may be at its end soon.
        let again = seen.outcome.end == End::TimedOut && accesses.len() >= MANY;
        if !again || seconds > profile.seconds.app {
            bench.end()?;
            return Ok(seen);
        }
        seconds *= LONGER;
    }
}

/// What was drawn, seed by seed. The calls that a program uses are those that give most numbers.
fn rounds(profile: &Profile, accesses: &[Access]) -> Result<Vec<Round>> {
    let seed = profile.seed_register()?.offset;
    let random = profile.ioctls.iter().filter(|ioctl| ioctl.kind == IoctlKind::Random);
    let count = |ioctl: &&_| numbers_of(profile, ioctl, accesses).map_or(0, |found| found.len());
    let ioctl = random.max_by_key(count).context("an ioctl gives numbers")?;
    let is_seed = |access: &Access| access.kind == Kind::Write && access.offset == seed;
    let seeds = accesses.iter().filter(|access| is_seed(access)).map(|access| Some(access.value));
    let mut rounds = Vec::new();
    for (seed, accesses) in std::iter::once(None).chain(seeds).zip(accesses.split(is_seed)) {
        let numbers = numbers_of(profile, ioctl, accesses)?;
        if seed.is_some() || !numbers.is_empty() {
            rounds.push(Round { seed, numbers });
        }
    }
    Ok(rounds)
}

fn ended_well(seen: &Seen) -> Checked {
    let Seen { outcome, rounds, seconds } = seen;
    let drawn: usize = rounds.iter().map(|round| round.numbers.len()).sum();
    let hint = match &outcome.end {
        End::Exited(0) => return Ok(()),
        End::Exited(status) => format!(
            "it ended with exit status {status}; main returns 0 when all is well, and what failed \
             is best printed with perror"
        ),
        End::Killed(11) => "it crashed (signal 11, segmentation fault): a pointer that is wrong, \
                            or no memory"
            .to_owned(),
        End::Killed(25) => {
            "it wrote a file that is too large (signal 25): what is written again and again?"
                .to_owned()
        }
        End::Killed(signal) => format!("it was ended by signal {signal}"),
        End::TimedOut if outcome.said.len() >= MAX_OUTPUT => format!(
            "endless output: it printed more than {} KiB, and was not at its end after {seconds} s",
            MAX_OUTPUT / 1024
        ),
        End::TimedOut if drawn >= MANY => format!(
            "it drew {drawn} numbers, and does not come to an end in {seconds} s: is there a loop \
             without an end, or are fewer numbers enough?"
        ),
        End::TimedOut => "it does not come to an end: does it wait for input, or for numbers to \
                          become equal? Are the results of open and ioctl looked at?"
            .to_owned(),
        End::TooMuchOutput => {
            format!("endless output: it printed more than {} MiB", MAX_PRINTED >> 20)
        }
        End::Stuck { state, stack } => {
            return Err(Stop::Lab(anyhow::anyhow!(
                "our own driver keeps the application in state {state}: {stack}"
            )));
        }
    };
    Err(Failure::new(hint).with(outcome.said.as_str()).into())
}

/// There are two rounds of the same seed.
fn repeats(rounds: &[Round], least: usize) -> Checked {
    let seeded: Vec<&Round> = rounds.iter().filter(|round| round.seed.is_some()).collect();
    for (index, first) in seeded.iter().enumerate() {
        for second in &seeded[index + 1..] {
            let enough = first.numbers.len().min(second.numbers.len()) >= least;
            let common = first.numbers.iter().zip(&second.numbers);
            if first.seed == second.seed && enough && common.clone().all(|(one, two)| one == two) {
                return Ok(());
            }
        }
    }
    let drawn: usize = rounds.iter().map(|round| round.numbers.len()).sum();
    Err(Stop::failed(not_repeated(&seeded, drawn, least)))
}

/// What to do about rounds none of which is another one's repetition.
fn not_repeated(seeded: &[&Round], drawn: usize, least: usize) -> String {
    let list = |word: fn(&&Round) -> String| seeded.iter().map(word).collect::<Vec<_>>().join(", ");
    let seeds = list(|round| format!("{:#x}", round.seed.unwrap_or_default()));
    match seeded {
        [] => format!(
            "no seed reached the device, and {drawn} numbers were drawn: MY_RNG_IOCTL_SEED takes \
             the address of an unsigned int, and /dev/my_rng_driver has to be opened with O_RDWR; \
             look at the result of the ioctl with perror"
        ),
        [only] => format!(
            "only one seed reached the device ({seeds}), with {} numbers after it: the second round \
             has to seed again, with the same value",
            only.numbers.len()
        ),
        [first, others @ ..] if others.iter().all(|round| round.seed != first.seed) => {
            format!(
                "the rounds have different seeds ({seeds}): the same one gives the same numbers"
            )
        }
        many => format!(
            "{} seeds reached the device ({seeds}), with {} numbers after them: seed, then draw at \
             least {least} numbers, then seed with the same value and draw again",
            many.len(),
            list(|round| round.numbers.len().to_string())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(seed: Option<u64>, numbers: &[u64]) -> Round {
        Round { seed, numbers: numbers.to_vec() }
    }

    fn hint(result: Checked) -> String {
        match result {
            Ok(()) => String::new(),
            Err(stop) => stop.verdict().expect("it is the student's").message(),
        }
    }

    #[test]
    fn rounds_begin_with_a_seed() {
        let profile = Profile::published().expect("it is a profile");
        let access = |kind, offset, value| Access { kind, offset, width: 4, value };
        let accesses = [
            access(Kind::Read, 0, 9),
            access(Kind::Write, 4, 42),
            access(Kind::Read, 4, 0),
            access(Kind::Read, 0, 1),
            access(Kind::Read, 0, 2),
            access(Kind::Write, 4, 42),
        ];
        let found = rounds(&profile, &accesses).expect("it has the registers");
        assert_eq!(found, [round(None, &[9]), round(Some(42), &[1, 2]), round(Some(42), &[])]);
    }

    #[test]
    fn two_rounds_of_a_seed_are_wanted() {
        let pair = [1, 2];
        let twice = [round(Some(5), &pair), round(Some(5), &pair)];
        assert_eq!(hint(repeats(&twice, 2)), "");
        assert!(hint(repeats(&[round(None, &pair)], 2)).starts_with("no seed reached"));
        assert!(hint(repeats(&twice[..1], 2)).starts_with("only one seed"));
        let other = [round(Some(5), &pair), round(Some(6), &[3, 4])];
        assert!(hint(repeats(&other, 2)).contains("different seeds (0x5, 0x6)"));
        let short = [round(Some(5), &[]), round(Some(5), &pair)];
        assert!(hint(repeats(&short, 2)).contains("with 0, 2 numbers after them"));
    }
}
