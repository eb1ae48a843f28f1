//! Tests that cannot run because the Debian archive lacks something today, such as a kernel.
//!
//! Such a test passes, since nothing of ours is wrong. It is named where people look: on the
//! screen, and in a file whose lines `scripts/test.sh` counts at the end.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use lab::{progress, variables};

/// The environment variable that names the file.
pub const VARIABLE: &str = "LAB_SKIPPED";

/// Says that a test is skipped, and why.
pub fn skip(test: &str, why: &anyhow::Error) {
    let line = format!("SKIPPED {test}: {}", format!("{why:#}").replace('\n', " "));
    progress::say(&line);
    let Some(path) = variables::get(VARIABLE) else { return };
    let path = PathBuf::from(path);
    let written = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .and_then(|mut file| writeln!(file, "{line}"));
    assert!(written.is_ok(), "cannot write to {}: {written:?}", path.display());
}
