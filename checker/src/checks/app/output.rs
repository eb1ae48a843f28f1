//! Whether an application's output has the numbers that it drew.

use std::collections::HashMap;

use exerciser::MAX_OUTPUT;

use super::Round;
use crate::report::Failure;
use crate::stop::{Checked, Stop, ensure};

/// How many rounds have to be printed, when there are so many: one and its repetition. What else a
/// program draws is its own business.
const ROUNDS: usize = 2;

/// The numbers of the rounds are in the output: `least` of each in a row, of two rounds at least.
pub fn printed(rounds: &[Round], output: &str, least: usize) -> Checked {
    let whole = expected(rounds, least)?;
    // Of a long output the beginning is kept, in which there need not be a second round.
    let cut = output.len() >= MAX_OUTPUT;
    let wanted = if cut { 1 } else { whole.len().min(ROUNDS) };
    let mut words = Words::of(output);
    let mut first_missing = None;
    let mut found = 0;
    for (index, numbers) in whole.iter().enumerate() {
        match words.take(numbers, least, cut) {
            Ok(()) => found += 1,
            Err(missing) => drop(first_missing.get_or_insert((index, missing))),
        }
    }
    if found >= wanted {
        return Ok(());
    }
    let missing = first_missing.unwrap_or_default();
    Err(Failure::new(hint(&whole, found, missing, &words)).with(output).into())
}

/// The numbers of the rounds that are looked for: those after a seed, if there was one.
fn expected(rounds: &[Round], least: usize) -> Result<Vec<Vec<u64>>, Stop> {
    let seeded: Vec<&Round> = rounds.iter().filter(|round| round.seed.is_some()).collect();
    let counted = if seeded.is_empty() { rounds.iter().collect() } else { seeded };
    let numbers = || counted.iter().map(|round| round.numbers.clone());
    let all: Vec<u64> = numbers().flatten().collect();
    ensure(all.len() >= least, || {
        format!(
            "it drew {} numbers from the device, and {least} are the least: each is one ioctl \
             MY_RNG_IOCTL_RAND on an open /dev/my_rng_driver",
            all.len()
        )
    })?;
    let whole: Vec<_> = numbers().filter(|numbers| numbers.len() >= least).collect();
    Ok(if whole.is_empty() { vec![all] } else { whole })
}

/// What to do about the first number that is missing, in so many rounds, of which some were found.
fn hint(
    rounds: &[Vec<u64>],
    found: usize,
    (round, missing): (usize, usize),
    words: &Words,
) -> String {
    let number = rounds[round].get(missing).copied().unwrap_or_default();
    if found > 0 && missing == 0 {
        return format!(
            "{found} of {} rounds is printed: the numbers of round {}, {number:#x} ({number}) and \
             so on, are not in the output once more; print each round's numbers",
            rounds.len(),
            round + 1
        );
    }
    format!(
        "the device gave {number:#x} ({number}) as number {} after a seed, and the output does not \
         have it: {}",
        missing + 1,
        words.why_not(number, missing)
    )
}

/// The words of an output that may be numbers, and which of them have been found to be one.
struct Words {
    all: Vec<String>,
    /// Where each number is, in the forms of [`forms`].
    places: HashMap<String, Vec<usize>>,
    taken: Vec<bool>,
}

impl Words {
    fn of(output: &str) -> Self {
        let all = words(output);
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, word) in all.iter().enumerate() {
            for form in word_forms(word) {
                places.entry(form).or_default().push(at);
            }
        }
        let taken = vec![false; all.len()];
        Self { all, places, taken }
    }

    /// Takes a round's numbers: `least` of them in a row, in their order. Those before and behind
    /// may be missing; behind one that is missing, none may come. The index of the first missing
    /// one, when it is not so.
    fn take(&mut self, numbers: &[u64], least: usize, cut: bool) -> Result<(), usize> {
        let mut from = 0;
        let mut row: Vec<usize> = Vec::new();
        let mut gap = None;
        for (index, number) in numbers.iter().enumerate() {
            match self.place(*number, from) {
                Some(_) if gap.is_some() && !cut => return Err(gap.unwrap_or_default()),
                Some(at) => {
                    row.push(at);
                    from = at + 1;
                }
                None if row.is_empty() => {}
                None => gap = gap.or(Some(index)),
            }
        }
        if row.len() < least.min(numbers.len()) {
            return Err(gap.unwrap_or_default());
        }
        row.into_iter().for_each(|at| self.taken[at] = true);
        Ok(())
    }

    /// The first place of a number from one on that nothing has taken.
    fn place(&self, number: u64, from: usize) -> Option<usize> {
        let first = |form: &String| {
            let places = self.places.get(form)?;
            let begin = places.partition_point(|at| *at < from);
            places[begin..].iter().copied().find(|at| !self.taken[*at])
        };
        number_forms(number).iter().filter_map(first).min()
    }

    /// What may have become of a number that is not there.
    fn why_not(&self, number: u64, index: usize) -> &'static str {
        let has =
            |number: u64| number_forms(number).iter().any(|form| self.places.contains_key(form));
        let swapped = u32::try_from(number).map(u32::swap_bytes).unwrap_or_default();
        if has(number) {
            "the numbers are printed in another order than they were drawn"
        } else if has(u64::from(swapped)) {
            "its bytes are printed in the wrong order"
        } else if has(number & 0xff) {
            "only its low byte is printed: the variable is too short"
        } else if index == 0 || self.all.is_empty() {
            "is it printed, as a decimal (%u, %d) or hexadecimal (%x) number?"
        } else {
            "those before it are there"
        }
    }
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

/// What a word can be: a decimal number with or without zeros before it, or a hexadecimal one.
fn word_forms(word: &str) -> [String; 2] {
    let without_zeros = |digits: &str| {
        let digits = digits.trim_start_matches('0');
        if digits.is_empty() { "0".to_owned() } else { digits.to_owned() }
    };
    let hexadecimal = without_zeros(word.strip_prefix("0x").unwrap_or(word));
    [format!("d{}", without_zeros(word)), format!("h{hexadecimal}")]
}

/// The forms of a number: decimal, signed, hexadecimal.
fn number_forms(number: u64) -> [String; 3] {
    let signed = match u32::try_from(number) {
        Ok(short) => i64::from(i32::from_ne_bytes(short.to_ne_bytes())),
        Err(_) => i64::from_ne_bytes(number.to_ne_bytes()),
    };
    [format!("d{number}"), format!("d{signed}"), format!("h{number:x}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(seed: u64, numbers: &[u64]) -> Round {
        Round { seed: Some(seed), numbers: numbers.to_vec() }
    }

    fn hint(rounds: &[Round], output: &str) -> String {
        match printed(rounds, output, 2) {
            Ok(()) => String::new(),
            Err(stop) => stop.verdict().expect("it is the student's").message(),
        }
    }

    #[test]
    fn numbers_are_found_in_each_usual_form() {
        let rounds = [round(1, &[0xffff_fffe, 12, 0xbeef, 7])];
        assert_eq!(hint(&rounds, "1: -2\n2: 0x0000000c\n3: 0xBEEF, number 4: 7\n"), "");
        let dashes = [round(1, &[12, 0xffff_fffe, 7])];
        assert_eq!(hint(&dashes, "1-12-\n2-4294967294-3-7-\n"), "");
        let missing = hint(&rounds, "-2 12 7");
        assert!(missing.contains("0xbeef (48879) as number 3"), "{missing}");
        let swapped = hint(&[round(1, &[0x1234_5678, 0x11])], "78563412 22");
        assert!(swapped.contains("wrong order"), "{swapped}");
        assert!(hint(&[], "").contains("it drew 0 numbers"));
    }

    #[test]
    fn a_round_that_is_drawn_for_something_else_need_not_be_printed() {
        let warm_up = round(9, &[91, 92, 93]);
        let rounds = [warm_up, round(5, &[51, 52, 53]), round(5, &[51, 52, 53])];
        assert_eq!(hint(&rounds, "51 52 53\n51 52 53\n"), "");
        // Both rounds side by side.
        assert_eq!(hint(&rounds, "51 51\n52 52\n53 53\n"), "");
        // Of many numbers only the first ones.
        assert_eq!(hint(&rounds, "51 52 ...\n51 52 ...\n"), "");
    }

    #[test]
    fn the_repetition_has_to_be_printed_and_the_hint_says_so() {
        let rounds = [round(5, &[51, 52]), round(5, &[51, 52])];
        let missing = hint(&rounds, "51\n52\nequal\n");
        assert!(missing.starts_with("1 of 2 rounds is printed"), "{missing}");
        assert!(missing.contains("round 2"), "{missing}");
    }

    #[test]
    fn numbers_in_another_order_are_told_as_that() {
        let order = hint(&[round(5, &[51, 52, 53])], "53 52 51");
        assert!(order.contains("in another order"), "{order}");
    }

    #[test]
    fn of_an_output_that_was_cut_one_round_is_enough() {
        let numbers: Vec<u64> = (1_000_000..1_020_000).collect();
        let rounds = [round(5, &numbers), round(5, &numbers)];
        let mut output: String = numbers.iter().map(|number| format!("{number}\n")).collect();
        output.truncate(MAX_OUTPUT);
        assert_eq!(hint(&rounds, &output), "");
    }
}
