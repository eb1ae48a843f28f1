//! Runs a command with no more rights than in a plain container: `container COMMAND [ARGUMENT...]`.

use std::process::ExitCode;

use anyhow::{Context, Result};
use lab::container;

fn main() -> Result<ExitCode> {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let (program, arguments) = words.split_first().context("name a command to run")?;
    let status = container::inside(|| {
        let mut command = container::command(program);
        command.args(arguments).status().with_context(|| format!("cannot run {command:?}"))
    })?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into))
}
