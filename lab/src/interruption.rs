//! Interrupting a program of the lab's, by Ctrl-C or `kill`.

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::run_dir;

/// Ends the program when it is interrupted, after `last` was called. The kernel then ends its
/// processes ([`crate::process`]), and what was half done is removed by the next run.
pub fn end_on_signals(last: impl Fn() + Send + 'static) -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("cannot set up signal handling")?;
    std::thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            last();
            run_dir::remove_all_sockets();
            eprintln!("\nlab: interrupted, everything it started is ended");
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}
