//! Tells the user what is going on and how long it has taken.
//!
//! Everything goes straight to standard error, also in tests: the first test of a fresh checkout
//! downloads packages, and a silent minute looks like a hang.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How often a wait reports when standard error is not a terminal.
const REPORT_EVERY: Duration = Duration::from_secs(10);

fn started() -> Instant {
    static STARTED: OnceLock<Instant> = OnceLock::new();
    *STARTED.get_or_init(Instant::now)
}

/// One writer at a time, and whether a line that will be overwritten is on the screen.
fn screen() -> std::sync::MutexGuard<'static, bool> {
    static SCREEN: Mutex<bool> = Mutex::new(false);
    SCREEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn print(text: &str, overwritable: bool) {
    let mut pending = screen();
    let seconds = started().elapsed().as_secs();
    let start = if *pending { "\r\x1b[K" } else { "" };
    let end = if overwritable { "" } else { "\n" };
    // When standard error is gone, the work goes on.
    let _ = write!(std::io::stderr(), "{start}lab [{seconds:3} s] {text}{end}");
    *pending = overwritable;
}

/// Prints one line, with the seconds since the program started.
pub fn say(text: &str) {
    print(text, false);
}

/// A wait that reports how long it has taken.
#[derive(Debug)]
pub struct Wait {
    label: String,
    /// How far it is, behind the label.
    state: String,
    begun: Instant,
    reported: Instant,
    terminal: bool,
}

impl Wait {
    /// Announces what is being waited for.
    #[must_use]
    pub fn new(label: &str) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        print(label, terminal);
        Self { label: label.to_owned(), state: String::new(), begun: now, reported: now, terminal }
    }

    /// Says what is being waited for now; to be called when that changes.
    pub fn label(&mut self, label: &str) {
        if self.label != label {
            label.clone_into(&mut self.label);
            self.reported = Instant::now();
            print(label, self.terminal);
        }
    }

    /// Says how far it is; shown with the next tick.
    pub fn state(&mut self, state: &str) {
        self.state = format!(": {state}");
    }

    /// To be called again and again during the wait.
    pub fn tick(&mut self) {
        let every = if self.terminal { Duration::from_secs(1) } else { REPORT_EVERY };
        if self.reported.elapsed() >= every {
            self.reported = Instant::now();
            let seconds = self.begun.elapsed().as_secs();
            print(&format!("{}{} ({seconds} s)", self.label, self.state), self.terminal);
        }
    }

    /// Ends the wait with a last word.
    pub fn done(self, word: &str) {
        let seconds = self.begun.elapsed().as_secs_f32();
        print(&format!("{word} ({seconds:.1} s)"), false);
    }
}
