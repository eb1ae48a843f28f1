//! An end to what others can make a log say.
//!
//! A client that connects in a loop, a driver that breaks a rule with each request, a source that
//! comes and goes: each of them would fill a disk. [`LimitedLogger`] stands before a program's logger
//! and passes a burst of lines that are alike, and then one every few seconds, with the number of
//! those that it has left out. Lines are alike when the same place of a program writes them about the
//! same thing. Nothing else in the program has to count lines.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, Log, Metadata, Record};

/// Lines that are alike and may be written at once.
const BURST: u32 = 10;
/// How long it takes until one more may be written.
const INTERVAL: Duration = Duration::from_secs(10);
/// The target of lines that an operator causes and no other program, such as those of a reload: they
/// are never left out.
pub const OPERATOR: &str = "operator";
/// The most kinds of lines that are told apart. Further ones are alike.
const MAX_KINDS: usize = 4096;

/// A logger that leaves out what is too often. What a user asks for with `-vv` and more (debug and
/// trace) is never left out.
#[derive(Debug)]
pub struct LimitedLogger<L> {
    inner: L,
    limiter: Mutex<Limiter>,
    hasher: RandomState,
}

impl<L: Log> LimitedLogger<L> {
    /// The same logger with a limit.
    pub fn new(inner: L) -> Self {
        LimitedLogger { inner, limiter: Mutex::default(), hasher: RandomState::new() }
    }

    /// Which kind of line it is: where it is written, and what it is about, which stands before the
    /// first colon.
    fn kind(&self, record: &Record<'_>, text: &str) -> u64 {
        let about = text.split_once(": ").map_or("", |(about, _)| about);
        self.hasher.hash_one((record.module_path(), record.line(), about))
    }
}

impl<L: Log> Log for LimitedLogger<L> {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let is_limited = record.level() <= Level::Info && record.target() != OPERATOR;
        if !is_limited || !self.enabled(record.metadata()) {
            return self.inner.log(record);
        }
        let text = record.args().to_string();
        let kind = self.kind(record, &text);
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = limiter.count(kind, Instant::now());
        drop(limiter);
        let end = match verdict {
            Verdict::LeftOut => return,
            Verdict::Written { left_out: 0, last: false } => return self.inner.log(record),
            Verdict::Written { left_out: 0, .. } => " (more lines like this are left out)".into(),
            Verdict::Written { left_out, .. } => format!(" ({left_out} lines like this left out)"),
        };
        self.inner.log(
            &Record::builder()
                .metadata(record.metadata().clone())
                .args(format_args!("{text}{end}"))
                .module_path(record.module_path())
                .file(record.file())
                .line(record.line())
                .build(),
        );
    }

    fn flush(&self) {
        self.inner.flush();
    }
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Written {
        /// Lines of its kind before it that were not written.
        left_out: u64,
        /// Whether the next one of its kind would be left out.
        last: bool,
    },
    LeftOut,
}

/// A token bucket for each kind of line.
#[derive(Debug, Default)]
struct Limiter {
    buckets: HashMap<u64, Bucket>,
    /// When buckets that were full again were thrown away.
    swept: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: u32,
    /// When it got its last token, or would have.
    filled: Instant,
    left_out: u64,
}

impl Limiter {
    fn count(&mut self, kind: u64, now: Instant) -> Verdict {
        let is_due = self.swept.is_none_or(|swept| now.duration_since(swept) >= INTERVAL);
        if self.buckets.len() >= MAX_KINDS && is_due && !self.buckets.contains_key(&kind) {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            self.swept = Some(now);
        }
        let is_known = self.buckets.len() < MAX_KINDS || self.buckets.contains_key(&kind);
        // All that cannot be told apart any more share a bucket.
        let kind = if is_known { kind } else { 0 };
        let new = Bucket { tokens: BURST, filled: now, left_out: 0 };
        self.buckets.entry(kind).or_insert(new).take(now)
    }
}

impl Bucket {
    /// Adds the tokens of the time that has passed.
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        let tokens = u32::try_from(passed.as_nanos() / INTERVAL.as_nanos()).unwrap_or(u32::MAX);
        self.tokens = self.tokens.saturating_add(tokens).min(BURST);
        self.filled = match self.tokens {
            BURST => now,
            _ => self.filled + INTERVAL * tokens,
        };
    }

    fn is_full(mut self, now: Instant) -> bool {
        self.fill(now);
        self.tokens == BURST && self.left_out == 0
    }

    fn take(&mut self, now: Instant) -> Verdict {
        self.fill(now);
        match self.tokens.checked_sub(1) {
            None => {
                self.left_out += 1;
                Verdict::LeftOut
            }
            Some(tokens) => {
                self.tokens = tokens;
                let left_out = std::mem::take(&mut self.left_out);
                Verdict::Written { left_out, last: tokens == 0 }
            }
        }
    }
}

#[cfg(test)]
mod tests;
