//! Errors with what is behind them.

use std::error::Error;
use std::{io, iter};

use rustix::io::Errno;

/// An error with what is behind it, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let causes = iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Whether an error, or one behind it, is this one of the system.
pub(crate) fn is_caused_by(error: &(dyn Error + 'static), errno: Errno) -> bool {
    iter::successors(Some(error), |&error| error.source()).any(|cause| {
        let found = match cause.downcast_ref::<io::Error>() {
            Some(error) => Errno::from_io_error(error),
            None => cause.downcast_ref().copied(),
        };
        found == Some(errno)
    })
}
