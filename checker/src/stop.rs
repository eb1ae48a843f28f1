//! Why a check stops before it has passed.

use crate::report::{Failure, Verdict};

/// What a check comes to.
pub type Checked = Result<(), Stop>;

/// Why a check stops before it has passed.
#[derive(Debug)]
pub enum Stop {
    /// It ends with this verdict.
    Verdict(Verdict),
    /// The lab cannot go on.
    Lab(anyhow::Error),
}

impl Stop {
    /// A failure that this hint says all about.
    #[must_use]
    pub fn failed(hint: impl Into<String>) -> Self {
        Failure::new(hint).into()
    }

    /// It could not be checked, for this reason.
    #[must_use]
    pub fn not_run(because: impl Into<String>) -> Self {
        Self::Verdict(Verdict::NotRun(because.into()))
    }

    /// The verdict; the lab's own failure is none.
    pub fn verdict(self) -> anyhow::Result<Verdict> {
        match self {
            Self::Verdict(verdict) => Ok(verdict),
            Self::Lab(error) => Err(error),
        }
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Verdict(Verdict::Failed(failure))
    }
}

impl From<anyhow::Error> for Stop {
    fn from(error: anyhow::Error) -> Self {
        Self::Lab(error)
    }
}

/// Ends a check unless something is so, with a hint.
pub fn ensure(so: bool, hint: impl FnOnce() -> String) -> Checked {
    if so { Ok(()) } else { Err(Stop::failed(hint())) }
}

/// An answer that makes no sense: the submission has disturbed the program that tests it.
#[must_use]
pub fn nonsense(what: &str) -> Stop {
    Failure::new(
        "the checker's own program in the guest was disturbed: its answer makes no sense. Does the \
         submission end other processes, or write where it has nothing to write?",
    )
    .with(what)
    .into()
}
