//! Steps 2 to 4: a program in the guest that maps the device's registers itself.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use checker::access_log::{Kind, Named};
use checker::build::{self, Linking};
use checker::report::Failure;
use checker::stop::{Checked, Stop, ensure};

use super::{Bench, values};
use crate::guests::{Device, SLOT};

/// How long a program may take.
const TIME: Duration = Duration::from_secs(10);
/// How many numbers a program prints at least.
const NUMBERS: usize = 5;
/// The seed that a program is given.
const SEED: u64 = 4242;

/// What came of a program.
struct Ran {
    /// The numbers that it printed, one in each line.
    numbers: Vec<u64>,
    accesses: Vec<Named>,
}

/// Builds a program and runs it with the path of BAR 0 and other arguments.
fn run(file: &Path, arguments: &str, bench: &mut Bench<'_>) -> Result<Ran, Stop> {
    let work = bench.work()?;
    let program = build::app(file, work.path(), Linking::Dynamic)?;
    let live = bench.guests.with(&Device::Published)?;
    live.copy_in(&program, "/run/program")?;
    let mark = live.mark();
    let seconds = TIME.as_secs();
    let command = format!(
        "chmod +x /run/program; cd /run; timeout {seconds} ./program {SLOT}/resource0 {arguments} \
         | head -n 100"
    );
    // The status of the program, not that of head.
    let output = live.run(&format!("set -o pipefail; {command}"), TIME)?;
    let accesses = live.accesses_since(mark)?;
    let said = output.text.trim_end().to_owned();
    ended_well(output.status, &said)?;
    let numbers = said.lines().map(number).collect::<Result<Vec<u64>, Stop>>()?;
    Ok(Ran { numbers, accesses })
}

/// The program ended by itself, and with status 0.
fn ended_well(status: i32, said: &str) -> Checked {
    let hint = match status {
        0 => return Ok(()),
        124 | 143 => {
            let seconds = TIME.as_secs();
            return Err(Stop::failed(format!("the program does not end within {seconds} s")));
        }
        135 | 139 => format!(
            "the program is ended by a signal ({}): it uses memory that is not mapped. Is the \
             result of mmap compared with MAP_FAILED?",
            status - 128
        ),
        _ => format!("the program ends with status {status}; it has to be 0"),
    };
    Err(Failure::new(hint).with(said).into())
}

/// A line of the program's output.
fn number(line: &str) -> Result<u64, Stop> {
    let line = line.trim();
    let parsed = match line.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => line.parse(),
    };
    parsed.map_err(|_| {
        Stop::failed(format!(
            "the program prints {line:?}; each line has to be one number and nothing else"
        ))
    })
}

/// The program printed as many numbers as it has to.
fn enough(is_enough: bool, numbers: &[u64], wanted: usize) -> Checked {
    ensure(is_enough, || {
        format!("the program prints {} numbers; it has to print {wanted}", numbers.len())
    })
}

/// Step 2: five numbers, each from a read of its own.
pub fn read_random(file: &Path, bench: &mut Bench<'_>) -> Checked {
    let Ran { numbers, accesses } = run(file, "", bench)?;
    let read = values(&accesses, "RANDOM");
    ensure(!accesses.is_empty(), || {
        "the device was not accessed at all: map the file that argv[1] names, and read from there"
            .to_owned()
    })?;
    if let Some(other) = accesses.iter().find(|one| one.place != "RANDOM") {
        return Err(Stop::failed(format!(
            "the program accesses {}, which is not RANDOM (offset 0x0)",
            other.place
        )));
    }
    enough(numbers.len() >= NUMBERS, &numbers, NUMBERS)?;
    ensure(read.len() >= numbers.len(), || {
        format!(
            "the program prints {} numbers, and the device was read {} times: each number needs a \
             read of its own",
            numbers.len(),
            read.len()
        )
    })?;
    same(&numbers, &read)
}

/// What was printed is what the device gave.
fn same(numbers: &[u64], read: &[u64]) -> Checked {
    match numbers.iter().zip(read).position(|(printed, read)| printed != read) {
        None => Ok(()),
        Some(at) => Err(Stop::failed(format!(
            "number {} that the program prints is {}, and the device gave {}",
            at + 1,
            numbers[at],
            read[at]
        ))),
    }
}

/// Step 3: two rounds with the same seed.
pub fn seed(file: &Path, bench: &mut Bench<'_>) -> Checked {
    let Ran { numbers, accesses } = run(file, &SEED.to_string(), bench)?;
    let writes: Vec<&Named> = accesses.iter().filter(|one| one.kind == Kind::Write).collect();
    if let Some(other) = writes.iter().find(|one| one.place != "SEED") {
        return Err(Stop::failed(format!(
            "the program writes {:#x} to {}; SEED is at offset 0x4, which is one element of \
             uint32_t behind RANDOM",
            other.value, other.place
        )));
    }
    let wrong = writes.iter().find(|one| one.value != SEED);
    if let Some(Named { value, .. }) = wrong {
        return Err(Stop::failed(format!(
            "the program seeds with {value}, and it was started with the seed {SEED} (argv[2])"
        )));
    }
    ensure(writes.len() == 2, || {
        format!("SEED was written {} times; it has to be written before each round", writes.len())
    })?;
    let first = accesses.iter().position(|one| one.place == "SEED");
    let begun_late =
        accesses.iter().take(first.unwrap_or_default()).any(|one| one.place == "RANDOM");
    ensure(!begun_late, || "RANDOM was read before the first seed".to_owned())?;
    let rounds = accesses.split(|one| one.place == "SEED").skip(1);
    let rounds: Vec<Vec<u64>> = rounds.map(|round| values(round, "RANDOM")).collect();
    ensure(rounds.iter().all(|round| round.len() == NUMBERS), || {
        let counts: Vec<String> = rounds.iter().map(|round| round.len().to_string()).collect();
        format!(
            "after the seeds, RANDOM was read {} times; it has to be {NUMBERS} times each",
            counts.join(" and ")
        )
    })?;
    enough(numbers.len() == 2 * NUMBERS, &numbers, 2 * NUMBERS)?;
    same(&numbers, &values(&accesses, "RANDOM"))
}

/// Step 4: RANDOM with 1, 2, 4 and 8 bytes, each after a seed.
pub fn access_sizes(file: &Path, bench: &mut Bench<'_>) -> Checked {
    let Ran { numbers, accesses } = run(file, "", bench)?;
    enough(numbers.len() == 4, &numbers, 4)?;
    let after_seeds: Vec<&[Named]> =
        accesses.split(|one| one.kind == Kind::Write && one.place == "SEED").skip(1).collect();
    ensure(after_seeds.len() == 4, || {
        format!(
            "SEED was written {} times; it has to be written before each read",
            after_seeds.len()
        )
    })?;
    for ((reads, printed), width) in after_seeds.iter().zip(&numbers).zip([1, 2, 4, 8]) {
        let first = reads.first().with_context(|| format!("no read of {width} bytes"));
        let first = first.map_err(|error| Stop::failed(format!("the device saw {error}")))?;
        let seen: Vec<String> =
            reads.iter().map(|one| format!("{} bytes of {}", one.width, one.place)).collect();
        // One of 8 bytes arrives as two of 4.
        let wanted = if width == 8 { &[4, 4][..] } else { &[width][..] };
        let widths: Vec<usize> = reads.iter().map(|one| one.width).collect();
        ensure(widths == wanted || (width == 8 && widths == [8]), || {
            format!(
                "where the program has to read {width} bytes at once, the device saw {}: the type \
                 behind the pointer decides how many bytes are read",
                seen.join(", then ")
            )
        })?;
        ensure(
            *printed == first.value || width == 8 && *printed & 0xffff_ffff == first.value,
            || {
                format!(
                    "for {width} bytes the program prints {printed:#x}, and the device gave {:#x}",
                    first.value
                )
            },
        )?;
    }
    Ok(())
}
