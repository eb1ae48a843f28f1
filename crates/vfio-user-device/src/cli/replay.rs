//! `replay FILE`: the device does once more what was recorded, without a client.

use std::path::PathBuf;

use clap::Subcommand;

use super::ProgramError;
use crate::device::Device;
use crate::recording::{self, File, Replayed, replay};

/// What a program with a device can do instead of serving it.
#[derive(Clone, Debug, Subcommand)]
#[non_exhaustive]
pub enum Action {
    /// Have the device do what was recorded, and compare each answer.
    ///
    /// The first answer, interrupt or write to guest memory that is not as it was recorded is shown.
    /// The exit status is 0 if there is none, else 1.
    Replay {
        /// The recording, which --record has made.
        #[arg(value_name = "FILE")]
        file: PathBuf,

        /// Which client's session, the first one being 1.
        #[arg(long, value_name = "N", default_value_t = 1)]
        session: u32,
    },
}

impl Action {
    /// Does it with a device.
    ///
    /// # Errors
    /// The file cannot be read or replayed, or the device does something else.
    pub fn run(&self, device: impl Device + 'static) -> Result<(), ProgramError> {
        let Self::Replay { file: path, session } = self;
        let unreadable = |source| ProgramError::Read { path: path.clone(), source };
        let file = recording::read(path).map_err(unreadable)?;
        let replayed = replay(&file, *session, device)?;
        print!("session {session} of {}: {}", file.sessions(), said(&file, &replayed));
        if replayed.difference.is_some() { Err(ProgramError::Different) } else { Ok(()) }
    }
}

/// What came of a replay.
fn said(file: &File, replayed: &Replayed) -> String {
    let done = format!("{} commands, {} accesses", replayed.commands, replayed.accesses);
    let Some(difference) = &replayed.difference else {
        let end =
            replayed.stopped.as_ref().map_or(String::new(), |why| format!("; ends early: {why}"));
        return format!("{done}, each answer as recorded{end}\n");
    };
    let time = file.events.get(difference.index).map_or(0, |event| event.time);
    let panic = replayed.panic.as_ref().map(|place| format!("the device panicked at {place}\n"));
    format!(
        "{done}, then a difference at {}.{:06} s\n    recorded: {}\n    now:      {}\n{}",
        time / 1_000_000_000,
        time / 1000 % 1_000_000,
        difference.recorded,
        difference.replayed,
        panic.unwrap_or_default()
    )
}
