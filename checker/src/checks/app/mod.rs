//! The checks of an application: it runs beside our own driver, as nobody, and the device's log
//! says which numbers it got.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use exerciser::{End, Job, MOST_OUTPUT, Outcome};
use lab::RunDir;

use super::stop::{Checked, Stop, ensure, nonsense};
use super::{Recorder, Tools};
use crate::access_log::{Access, Kind, numbers_of};
use crate::build;
use crate::guest::{Bench, Setup};
use crate::profile::{IoctlKind, Profile};
use crate::report::{Entry, Failure};

const BUILD: (&str, &str) = ("app-build", "it compiles");
const RUNS: (&str, &str) = ("app-runs", "it runs to its end");
const NUMBERS: (&str, &str) = ("app-numbers", "it prints the numbers of the device");
const ROUNDS: (&str, &str) =
    ("app-rounds-repeat", "two rounds of the same seed print equal numbers");

/// What an application left behind.
struct Seen {
    outcome: Outcome,
    rounds: Vec<Round>,
}

/// The numbers after a seed.
#[derive(Debug, PartialEq, Eq)]
struct Round {
    /// The seed; nothing for numbers before the first one.
    seed: Option<u64>,
    numbers: Vec<u64>,
}

/// Builds and checks an application.
pub fn check_app(source: &Path, tools: &Tools, run: &RunDir, work: &Path) -> Result<Vec<Entry>> {
    let mut recorder = Recorder::new(&tools.profile);
    let built =
        recorder.check(BUILD.0, BUILD.1, || build::app(source, work).map_err(Stop::from))?;
    let Some(program) = built else {
        for (id, title) in [RUNS, NUMBERS, ROUNDS] {
            recorder.not_run(id, title, "app-build failed");
        }
        return Ok(recorder.finish());
    };
    let mut seen = None;
    recorder.check(RUNS.0, RUNS.1, || {
        let found = seen.insert(run_app(&program, tools, run)?);
        ended_well(&found.outcome)
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
    Ok(recorder.finish())
}

fn run_app(program: &Path, tools: &Tools, run: &RunDir) -> Result<Seen, Stop> {
    let profile = &tools.profile;
    let setup = Setup {
        run,
        profile,
        kernel: tools.kernel,
        files: vec![
            ("root/driver.ko".to_owned(), tools.driver.clone()),
            ("usr/bin/exerciser".to_owned(), tools.exerciser.clone()),
            ("usr/bin/app".to_owned(), program.to_path_buf()),
        ],
        resets: false,
    };
    let mut bench = Bench::new(setup, tools.attach(run)?);
    bench.boot()?;
    let node = &profile.driver.node;
    let ready =
        bench.shell(&format!("insmod /root/driver.ko && chmod 666 {node} && echo ready"))?;
    if !ready.ends_with("ready\n") {
        return Err(Stop::Lab(anyhow!("the driver for applications does not load: {ready}")));
    }
    let mark = bench.log_length();
    let mut command = vec!["/usr/bin/app".to_owned()];
    command.extend(profile.app.arguments.iter().cloned());
    let job = Job::Program { command, input: profile.app.input.clone(), confined: true };
    let answer = bench.exercise(job, 1, profile.seconds.app)?;
    let outcome = answer.0.into_iter().next().ok_or_else(|| nonsense("no outcome"))?;
    let rounds = rounds(profile, &bench.accesses_since(mark))?;
    Ok(Seen { outcome, rounds })
}

/// What was drawn, seed by seed. The calls that a program uses are those that give most numbers.
fn rounds(profile: &Profile, accesses: &[Access]) -> Result<Vec<Round>> {
    let seed = profile.seed_register()?.offset;
    let random = profile.ioctls.iter().filter(|ioctl| ioctl.kind == IoctlKind::Random);
    let count = |ioctl: &&_| numbers_of(profile, ioctl, accesses).map_or(0, |found| found.len());
    let ioctl = random.max_by_key(count).context("an ioctl gives numbers")?;
    let mut rounds = Vec::new();
    let mut rest = accesses;
    let mut current = None;
    loop {
        let is_seed = |access: &Access| access.kind == Kind::Write && access.offset == seed;
        let end = rest.iter().position(is_seed).unwrap_or(rest.len());
        let numbers = numbers_of(profile, ioctl, &rest[..end])?;
        if current.is_some() || !numbers.is_empty() {
            rounds.push(Round { seed: current, numbers });
        }
        let Some(next) = rest.get(end) else { return Ok(rounds) };
        current = Some(next.value);
        rest = &rest[end + 1..];
    }
}

fn ended_well(outcome: &Outcome) -> Checked {
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
        End::TimedOut => "it does not come to an end: does it wait for input, or for numbers to \
                          become equal? Are the results of open and ioctl looked at?"
            .to_owned(),
        End::TooMuchOutput => {
            format!("endless output: it printed more than {} KiB", MOST_OUTPUT / 1024)
        }
        End::Stuck { state, stack } => {
            return Err(Stop::Lab(anyhow::anyhow!(
                "our own driver keeps the application in state {state}: {stack}"
            )));
        }
    };
    Err(Failure::new(hint).with(outcome.said.as_str()).into())
}

/// The numbers of all rounds are in the output, in their order.
fn printed(rounds: &[Round], output: &str, least: usize) -> Checked {
    let seeded: Vec<&Round> = rounds.iter().filter(|round| round.seed.is_some()).collect();
    let wanted: Vec<u64> = if seeded.is_empty() {
        rounds.iter().flat_map(|round| round.numbers.clone()).collect()
    } else {
        seeded.iter().flat_map(|round| round.numbers.clone()).collect()
    };
    ensure(wanted.len() >= least, || {
        format!(
            "it drew {} numbers from the device, and {least} are the least: each is one ioctl \
             MY_RNG_IOCTL_RAND on an open /dev/my_rng_driver",
            wanted.len()
        )
    })?;
    let words = words(output);
    let mut rest = words.iter();
    for (index, number) in wanted.iter().enumerate() {
        if rest.any(|word| means(word, *number)) {
            continue;
        }
        let swapped = u32::try_from(*number).map(u32::swap_bytes).unwrap_or_default();
        let hint = if words.iter().any(|word| means(word, u64::from(swapped))) {
            "its bytes are printed in the wrong order"
        } else if words.iter().any(|word| means(word, number & 0xff)) {
            "only its low byte is printed: the variable is too short"
        } else if words.iter().any(|word| means(word, *number)) {
            "the numbers are printed in another order than they were drawn"
        } else if index == 0 {
            "is it printed, as a decimal (%u, %d) or hexadecimal (%x) number?"
        } else {
            "those before it are there"
        };
        let hint = format!(
            "the device gave {number:#x} ({number}) as number {} after a seed, and the output does \
             not have it: {hint}",
            index + 1
        );
        return Err(Failure::new(hint).with(output).into());
    }
    Ok(())
}

/// The words of an output that may be numbers, in small letters.
fn words(output: &str) -> Vec<String> {
    let words = output.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    // A minus belongs to what comes after it, if that is where the word begins: 1-2 are two numbers.
    let parts = words.flat_map(|word| {
        let (sign, rest) = word.strip_prefix('-').map_or(("", word), |rest| ("-", rest));
        let parts = rest.split('-').enumerate();
        parts.map(move |(number, part)| format!("{}{part}", if number == 0 { sign } else { "" }))
    });
    parts
        .map(|word| word.to_ascii_lowercase())
        .filter(|word| word.chars().any(|letter| letter.is_ascii_hexdigit()))
        .collect()
}

/// Whether a word is a number: decimal, signed or hexadecimal.
fn means(word: &str, number: u64) -> bool {
    let signed = match u32::try_from(number) {
        Ok(short) => i64::from(i32::from_ne_bytes(short.to_ne_bytes())),
        Err(_) => i64::from_ne_bytes(number.to_ne_bytes()),
    };
    let digits = word.strip_prefix("0x").unwrap_or(word).trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let plain = word.trim_start_matches('0');
    plain == number.to_string()
        || word == number.to_string()
        || word == signed.to_string()
        || digits == format!("{number:x}")
}

/// There are two rounds of the same seed.
fn repeats(rounds: &[Round], least: usize) -> Checked {
    let seeded: Vec<&Round> = rounds.iter().filter(|round| round.seed.is_some()).collect();
    let drawn: usize = rounds.iter().map(|round| round.numbers.len()).sum();
    if seeded.is_empty() {
        return Err(Stop::failed(format!(
            "no seed reached the device, and {drawn} numbers were drawn: MY_RNG_IOCTL_SEED takes \
             the address of an unsigned int, and /dev/my_rng_driver has to be opened with O_RDWR; \
             look at the result of the ioctl with perror"
        )));
    }
    for (index, first) in seeded.iter().enumerate() {
        for second in &seeded[index + 1..] {
            let enough = first.numbers.len().min(second.numbers.len()) >= least;
            let common = first.numbers.iter().zip(&second.numbers);
            if first.seed == second.seed && enough && common.clone().all(|(one, two)| one == two) {
                return Ok(());
            }
        }
    }
    let seeds: Vec<String> =
        seeded.iter().map(|round| format!("{:#x}", round.seed.unwrap_or_default())).collect();
    Err(Stop::failed(match &seeded[..] {
        [only] => format!(
            "only one seed reached the device ({}), with {} numbers after it: the second round has \
             to seed again, with the same value",
            seeds[0],
            only.numbers.len()
        ),
        many if many
            .iter()
            .all(|round| round.seed != many[0].seed || round.numbers == many[0].numbers)
            && many.iter().filter(|round| round.seed == many[0].seed).count() == 1 =>
        {
            format!(
                "the rounds have different seeds ({}): the same one gives the same numbers",
                seeds.join(", ")
            )
        }
        many => {
            let counts: Vec<String> =
                many.iter().map(|round| round.numbers.len().to_string()).collect();
            format!(
                "{} seeds reached the device ({}), with {} numbers after them: seed, then draw at \
                 least {least} numbers, then seed with the same value and draw again",
                many.len(),
                seeds.join(", "),
                counts.join(", ")
            )
        }
    }))
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
    fn numbers_are_found_in_each_usual_form() {
        let numbers = [0xffff_fffe, 12, 0xbeef, 7];
        let rounds = [round(Some(1), &numbers)];
        let output = "1: -2\n2: 0x0000000c\n3: 0xBEEF, number 4: 7\n";
        assert_eq!(hint(printed(&rounds, output, 2)), "");
        let dashes = [round(Some(1), &[12, 0xffff_fffe, 7])];
        assert_eq!(hint(printed(&dashes, "1-12-\n2-4294967294-3-7-\n", 2)), "");
        let missing = hint(printed(&rounds, "-2 12 7", 2));
        assert!(missing.contains("0xbeef (48879) as number 3"), "{missing}");
        let swapped = hint(printed(&[round(Some(1), &[0x1234_5678, 1])], "78563412 1", 2));
        assert!(swapped.contains("wrong order"), "{swapped}");
        assert!(hint(printed(&[], "", 2)).contains("it drew 0 numbers"));
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
