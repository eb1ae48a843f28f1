//! A log that a test reads. There is one in a process, so such a test is alone in its program.

use std::sync::Mutex;

use log::{Level, LevelFilter, Log, Metadata, Record};

/// A log that keeps what would be shown with `-v`.
pub struct Kept(Mutex<Vec<String>>);

static LOG: Kept = Kept(Mutex::new(Vec::new()));

impl Kept {
    /// Keeps what is logged from now on.
    pub fn start() -> &'static Self {
        log::set_logger(&LOG).unwrap();
        log::set_max_level(LevelFilter::Info);
        &LOG
    }

    /// What was logged since this was last asked.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Log for Kept {
    fn enabled(&self, metadata: &Metadata) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}
