//! The user's terminal: raw while the guest's shell has it, as before afterwards.

use std::io::{IsTerminal, stdin};
use std::sync::Mutex;

use anyhow::{Context, Result};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};

/// How the terminal was before it was made raw.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// The terminal in raw mode; as before when the value goes.
#[derive(Debug)]
pub struct Raw(());

/// Makes the terminal raw: every key goes to the guest. Fine when there is none.
pub fn raw() -> Result<Raw> {
    if stdin().is_terminal() {
        let before = tcgetattr(stdin()).context("cannot read the terminal's settings")?;
        let mut raw = before.clone();
        raw.make_raw();
        // The lab's own lines begin at the left.
        raw.output_modes |= OutputModes::OPOST;
        *BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(before);
        tcsetattr(stdin(), OptionalActions::Now, &raw)
            .context("cannot change the terminal's settings")?;
    }
    Ok(Raw(()))
}

/// Gives the terminal back as it was.
pub fn restore() {
    let before = BEFORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(before) = before {
        // Without a terminal there is nothing to restore.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &before);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        restore();
    }
}
