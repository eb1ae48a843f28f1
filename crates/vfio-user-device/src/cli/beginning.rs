//! What a program begins with, while it has one thread and has opened nothing: its log and its keeper.

use std::cell::Cell;

use super::inherited_fds::InheritedFds;
use super::restart::Restart;
use super::{Arguments, Program, ProgramError, descriptor_limit, start_log};
use crate::exchange::Inherited;
use crate::keeper;

thread_local! {
    /// What [`Program::begin`] leaves for [`Program::start`].
    static BEGUN: Cell<Option<Beginning>> = const { Cell::new(None) };
}

/// What the rest of the start needs.
pub(super) struct Beginning {
    pub restart: Restart,
    /// Descriptors that came with the start.
    pub inherited: InheritedFds,
    /// What a process has left that has crashed.
    pub predecessor: Option<Inherited>,
}

impl Beginning {
    /// Makes this process a keeper if the options say so, unless that is done.
    pub fn of(arguments: &Arguments) -> Result<Self, ProgramError> {
        if let Some(begun) = BEGUN.take() {
            return Ok(begun);
        }
        start_log(arguments.verbose);
        descriptor_limit::raise_descriptor_limit();
        let restart = Restart::of_this_process();
        // They name this process, and not one that a keeper starts.
        let inherited = InheritedFds::new()?;
        let mut predecessor = None;
        if arguments.keeper {
            let (directory, crash) = keeper::process::start().map_err(ProgramError::Keeper)?;
            predecessor = crash.map(|crash| Inherited::recover(directory, crash));
        }
        Ok(Beginning { restart, inherited, predecessor })
    }
}

impl Program {
    /// The first part of [`Program::start`], for a program that starts threads or opens files before
    /// that: with `--keeper` this process becomes the keeper, and the function returns in each process
    /// that it starts. To be called by the thread that calls `start`. Returns whether there is a keeper.
    ///
    /// # Errors
    /// There are other threads, or the system has no more of something.
    pub fn begin(arguments: &Arguments) -> Result<bool, ProgramError> {
        BEGUN.set(Some(Beginning::of(arguments)?));
        Ok(arguments.keeper)
    }
}
