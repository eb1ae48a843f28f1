//! A device that does not answer: QEMU waits 5 seconds for the first read, gives the device up, and
//! has the guest read ones.

use my_rng_model::registers::{RANDOM, SEED};

/// What a read of a device gives that QEMU has given up.
const NO_ANSWER: &str = " 0xFFFFFFFF";

/// What to say of the words of a BAR, `0x000 0xFFFFFFFF` in each line, when none of them was answered.
pub fn told(words: &str) -> Option<String> {
    // The read that was waited for is the first one.
    let first = words.lines().next()?;
    if !words.lines().all(|word| word.ends_with(NO_ANSWER)) {
        return None;
    }
    let offset = first.split(' ').next()?;
    let number = u64::from_str_radix(offset.trim_start_matches("0x"), 16).ok()?;
    let register = match number {
        RANDOM => format!("RANDOM ({number:#x})"),
        SEED => format!("SEED ({number:#x})"),
        _ => format!("{number:#x}"),
    };
    Some(format!(
        "no answer to a read of {register} in 5 s, and QEMU has given the device up: a callback never \
         waits, and a loop in it has to end\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_that_was_not_answered_is_named() {
        let said = told("0x000 0xFFFFFFFF\n0x004 0xFFFFFFFF\n").expect("none was answered");
        assert!(said.starts_with("no answer to a read of RANDOM (0x0) in 5 s, and QEMU"), "{said}");
        let said = told("0x010 0xFFFFFFFF\n").expect("it was not answered");
        assert!(said.starts_with("no answer to a read of 0x10 in 5 s"), "{said}");
    }

    #[test]
    fn a_device_that_answers_is_not_accused() {
        assert_eq!(told("0x000 0xFFFFFFFF\n0x004 0x00000000\n"), None);
        assert_eq!(told(""), None);
    }
}
