//! The exerciser: does in a guest what the checker asks for (see the library), and always answers.

#![deny(unsafe_code)]

mod confine;
#[expect(unsafe_code, reason = "bad addresses have no safe interface")]
mod memory;
mod supervise;
mod work;

use std::io::Read;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use exerciser::{Job, Request};

/// How it starts its own processes: with a job on standard input.
const WORK: &str = "--work";
/// How it starts what runs an untrusted program: with the program's command behind it.
const CONFINE: &str = "--confine";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exerciser: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (first, rest) = arguments.split_first().context("a request in JSON is needed")?;
    match first.as_str() {
        WORK => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).context("no job on standard input")?;
            let job: Job = serde_json::from_str(&text).context("this is no job")?;
            work::work(&job)
        }
        CONFINE => confine::run(rest),
        request => {
            if !rest.is_empty() {
                bail!("one request is all it takes");
            }
            let request: Request = serde_json::from_str(request).context("this is no request")?;
            let answer = supervise::answer(&request)?;
            println!("{}", serde_json::to_string(&answer).context("an answer is plain data")?);
            Ok(())
        }
    }
}
