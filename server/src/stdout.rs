//! Standard output of the subcommands.

use std::io::{self, ErrorKind, Write};

use anyhow::Result;

/// Writes to standard output, as long as it is read.
pub fn print(bytes: &[u8]) -> Result<()> {
    match io::stdout().write_all(bytes) {
        // The reader has seen enough: head(1), for example.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
