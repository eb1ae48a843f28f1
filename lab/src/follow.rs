//! Runs a command that takes long, and hears what it says meanwhile.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;

use anyhow::{Context, Result};

use crate::process;

/// Runs a command to its end; returns how it ended, and the lines of its standard output, or of
/// its standard error if only that was made a pipe.
///
/// The listener hears each line, and nothing now and then, to show that time goes by. The command
/// is to be one that dies with the calling thread ([`process::tied`]).
pub fn follow(
    command: &mut Command,
    mut listener: impl FnMut(Option<&str>),
) -> Result<(ExitStatus, Vec<String>)> {
    let mut inner = command
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let pipe: Box<dyn Read + Send> = match (inner.stdout.take(), inner.stderr.take()) {
        (Some(output), _) => Box::new(output),
        (None, Some(errors)) => Box::new(errors),
        (None, None) => Box::new(std::io::empty()),
    };
    let (sender, said) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            // The receiver lives until the thread is joined.
            let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
        }
    });
    let mut lines = Vec::new();
    let status = loop {
        for line in said.try_iter() {
            listener(Some(&line));
            lines.push(line);
        }
        let ended = inner.try_wait().with_context(|| format!("cannot wait for {command:?}"))?;
        if let Some(status) = ended {
            break status;
        }
        listener(None);
        std::thread::sleep(process::POLL);
    };
    // It ends when the pipe does, which ended with the command.
    let _ = reader.join();
    for line in said.try_iter() {
        listener(Some(&line));
        lines.push(line);
    }
    Ok((status, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_heard_in_order_and_the_status_kept() {
        let mut command = process::tied("sh");
        command.args(["-c", "echo one; sleep 0.1; echo two; exit 3"]).stdout(Stdio::piped());
        let mut heard = Vec::new();
        let (status, lines) = follow(&mut command, |line| {
            heard.extend(line.map(str::to_owned));
        })
        .expect("sh runs");
        assert_eq!(status.code(), Some(3));
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(heard, lines);
    }
}
