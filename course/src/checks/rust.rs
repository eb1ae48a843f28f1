//! The step "Rust for C programmers": functions that a program of the course's calls.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use checker::build;
use checker::report::Failure;
use checker::stop::{Checked, Stop};
use lab::{files, process};

use super::Bench;

/// Calls the functions, and says what is wrong with the first one that is not right.
const HARNESS: &str = include_str!("harness.rs.txt");
const MANIFEST: &str = "[package]\nname = \"basics\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
    [workspace]\n";

/// Compiles the functions with the program around them, and runs it.
pub fn check(file: &Path, bench: &mut Bench<'_>) -> Checked {
    let work = bench.work()?;
    let krate = work.path().join("basics");
    write_crate(&krate, file)?;
    let built = work.path().join("built");
    files::create_folder(&built)?;
    let program = build::device(&krate, &built)?.program;
    let mut command = process::tied("timeout");
    command.arg(Duration::from_secs(10).as_secs().to_string()).arg(program);
    let output = command.output().context("cannot run the program")?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let mut lines = said.lines().filter(|line| !line.trim().is_empty());
    let hint = lines.next().unwrap_or("the program does not end within 10 s").to_owned();
    let rest: Vec<&str> = lines.filter(|line| !line.starts_with("note: ")).collect();
    Err(Stop::from(Failure::new(hint).with(rest.join("\n"))))
}

/// The crate of that program and the functions.
fn write_crate(krate: &Path, file: &Path) -> Result<()> {
    files::create_folder(krate.join("src"))?;
    files::write(krate.join("Cargo.toml"), MANIFEST)?;
    files::write(krate.join("src/main.rs"), HARNESS)?;
    files::write(krate.join("src/basics.rs"), files::read(file)?)
}
