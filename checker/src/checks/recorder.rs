//! Takes down how each check ended, and tells it at once.

use std::time::Instant;

use anyhow::Result;
use lab::RunDir;

use crate::kernel_log;
use crate::profile::Profile;
use crate::recordings::{self, Span};
use crate::report::{Entry, Failure, Verdict};
use crate::stop::Stop;
use crate::tools::Listener;

/// Takes down how each check ended.
#[derive(Debug)]
pub struct Recorder<'a> {
    profile: &'a Profile,
    listener: &'a Listener,
    entries: Vec<Entry>,
    /// When each was on.
    spans: Vec<Span>,
    /// Where the device is recorded.
    run: &'a RunDir,
}

impl<'a> Recorder<'a> {
    /// With nothing in it yet. Failures show what the device of the run saw.
    #[must_use]
    pub fn new(profile: &'a Profile, listener: &'a Listener, run: &'a RunDir) -> Self {
        Self { profile, listener, entries: Vec::new(), spans: Vec::new(), run }
    }

    /// Takes down a check that has just ended.
    pub fn add(&mut self, id: &str, title: &str, verdict: Verdict, begun: Instant) {
        self.add_worth(self.profile.points(id), id, title, verdict, begun);
    }

    /// Takes down a check that could not be done because of a fault that another one was failed for:
    /// it neither brings nor costs points.
    pub fn add_for_nothing(&mut self, id: &str, title: &str, verdict: Verdict, begun: Instant) {
        self.add_worth(0, id, title, verdict, begun);
    }

    fn add_worth(&mut self, worth: u32, id: &str, title: &str, verdict: Verdict, begun: Instant) {
        let (id, title) = (id.to_owned(), title.to_owned());
        let span = Span::of_last(begun.elapsed());
        let told = self.told_once(verdict.clone());
        let verdict = if told == verdict {
            recordings::explained(verdict, self.run, span, self.profile)
        } else {
            // What was told before was explained there.
            told
        };
        self.spans.push(span);
        let entry = Entry { id, title, verdict, worth, took: begun.elapsed() };
        self.listener.hear(&entry);
        self.entries.push(entry);
    }

    /// A fault that an earlier check was failed for is told there, with its hint and all that was said.
    fn told_once(&self, verdict: Verdict) -> Verdict {
        let Verdict::Failed(failure) = &verdict else { return verdict };
        let same = |one: &str, other: &str| cause(one) == cause(other);
        let is_kernels = kernel_log::worst(&failure.details).is_some();
        let is_it = |entry: &&Entry| match &entry.verdict {
            Verdict::Failed(earlier) => {
                same(&earlier.hint, &failure.hint)
                    || is_kernels && same(recordings::said(&earlier.details), &failure.details)
            }
            _ => false,
        };
        match self.entries.iter().find(is_it) {
            Some(first) => Failure::same_cause(&first.id).into(),
            None => verdict,
        }
    }

    /// Does a check that needs nothing, and takes it down; whether it passed.
    pub fn check<T>(
        &mut self,
        id: &str,
        title: &str,
        check: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<Option<T>> {
        let begun = Instant::now();
        match check() {
            Ok(value) => {
                self.add(id, title, Verdict::Passed, begun);
                Ok(Some(value))
            }
            Err(stop) => {
                self.add(id, title, stop.verdict()?, begun);
                Ok(None)
            }
        }
    }

    /// Takes down a check that there was no point in.
    pub fn not_run(&mut self, id: &str, title: &str, because: &str) {
        self.add(id, title, Verdict::NotRun(because.to_owned()), Instant::now());
    }

    /// All entries, with a recording of each in the run's folder. The device has ended.
    pub fn finish(self) -> Result<Vec<Entry>> {
        recordings::keep_all(&self.entries, &self.spans, self.run)?;
        Ok(self.entries)
    }
}

/// What a hint says beside the times and addresses of this very run, and the check in which it was met.
fn cause(hint: &str) -> String {
    let hint = match hint.strip_prefix("during ").and_then(|rest| rest.split_once(": ")) {
        Some((_, rest)) => rest,
        None => hint,
    };
    // By the place, whatever the accesses were that led there.
    if let Some((_, place)) = hint.split_once(" panicked at ") {
        return format!("panicked at {}", place.split(' ').next().unwrap_or_default());
    }
    let of_this_run = |word: &&str| {
        let word = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
        let word = word.strip_prefix("0x").unwrap_or(word);
        word.len() >= ADDRESS
            && word.chars().all(|letter| letter.is_ascii_hexdigit() || letter == '.')
    };
    hint.split_whitespace().filter(|word| !of_this_run(word)).collect::<Vec<_>>().join(" ")
}

/// How long a number is that is an address or a time in the kernel's log. Offsets and lines are shorter.
const ADDRESS: usize = 7;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn failed(hint: &str) -> Verdict {
        Verdict::Failed(Failure::new(hint).with("a trace"))
    }

    #[test]
    fn a_fault_is_told_in_full_once_and_listeners_hear_of_each_check() {
        let profile = Profile::published().expect("it is a profile");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let list = Arc::clone(&heard);
        let listener = Listener::new(move |entry| {
            list.lock()
                .expect("no check panicked")
                .push((entry.id.clone(), entry.verdict.message()));
        });
        let run = RunDir::create("checker-recorder").expect("a folder can be made");
        let mut recorder = Recorder::new(&profile, &listener, &run);
        let oops = "the driver follows a pointer that is NULL, at my_rng.c:34";
        let hints = [
            ("driver-random", format!("{oops} ([    9.068407] BUG: address: 00007f7a7c6eb000)")),
            (
                "driver-seed-register",
                format!("{oops} ([   10.001627] BUG: address: 00007febb1fe4000)"),
            ),
            ("driver-errors", format!("{} (BUG)", oops.replace("34", "52"))),
            (
                "driver-kernel-log",
                format!(
                    "during driver-random: {oops} ([    9.068407] BUG: address: 00007f7a7c6eb000)"
                ),
            ),
        ];
        for (id, hint) in &hints {
            recorder.add(id, "", failed(hint), Instant::now());
        }
        let messages: Vec<(String, String)> = recorder
            .finish()
            .expect("there are no recordings")
            .into_iter()
            .map(|entry| (entry.id.clone(), entry.verdict.message()))
            .collect();
        let same = |id: &str| (id.to_owned(), "same cause as driver-random".to_owned());
        let whole = |at: usize| (hints[at].0.to_owned(), hints[at].1.clone());
        let expected =
            [whole(0), same("driver-seed-register"), whole(2), same("driver-kernel-log")];
        assert_eq!(messages, expected);
        assert_eq!(*heard.lock().expect("no check panicked"), expected);
    }

    #[test]
    fn the_same_oops_is_one_cause_whatever_is_said_of_it_and_a_program_s_output_is_none() {
        let profile = Profile::published().expect("it is a profile");
        let listener = Listener::default();
        let run = RunDir::create("checker-recorder").expect("a folder can be made");
        let mut recorder = Recorder::new(&profile, &listener, &run);
        let oops = "[    9.1] Kernel panic - not syncing: Fatal exception\n";
        for (id, hint, details) in [
            ("driver-load", "the guest's kernel gave up", oops),
            ("driver-kernel-log", "during driver-load: the kernel gave up", oops),
            ("app-numbers", "it prints no numbers", "hello\n"),
            ("app-rounds-repeat", "no seed reached the device", "hello\n"),
        ] {
            let verdict = Failure::new(hint).with(details).into();
            recorder.add(id, "", verdict, Instant::now());
        }
        let hints: Vec<String> =
            recorder.entries.iter().map(|entry| entry.verdict.message()).collect();
        assert_eq!(
            hints[1..],
            ["same cause as driver-load", "it prints no numbers", "no seed reached the device"]
        );
    }

    #[test]
    fn hints_about_other_registers_are_other_causes() {
        let hint = |offset: &str| format!("a read of RANDOM at {offset} gives 0x12345678");
        assert_ne!(cause(&hint("0x0")), cause(&hint("0x8")));
        assert_eq!(cause("it takes 0.123456 s"), cause("it takes 9.654321 s"));
        let panic =
            |at: &str, offset: &str| format!("the device panicked at {at} an unread {offset}");
        assert_eq!(cause(&panic("a.rs:38:22:", "0x1")), cause(&panic("a.rs:38:22:", "0x8")));
        assert_ne!(cause(&panic("a.rs:38:22:", "0x1")), cause(&panic("a.rs:52:22:", "0x1")));
    }
}
