//! The Debian suites that a root's packages come from.
//!
//! Names of suites are all that the lab knows about Debian's archive. Which version of a package
//! a suite has, and in which archive it lies, apt decides: both change every few weeks.

use std::fmt;

/// The suite of the release that the lab's roots are made of.
const RELEASE_NAME: &str = "trixie";

/// Suites whose packages make up a root together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suites {
    /// The release.
    pub base: &'static str,
    /// A suite that adds to the release, at the same priority: the newer version of a package
    /// wins. With a part of it only, its packages' dependencies cannot be met.
    pub beside: Option<&'static str>,
}

/// The release alone.
pub const RELEASE: Suites = Suites { base: RELEASE_NAME, beside: None };
/// The release with its backports, which have newer kernels and QEMUs.
pub const BACKPORTS: Suites = Suites { base: RELEASE_NAME, beside: Some("trixie-backports") };
/// The next release, as far as it is.
pub const TESTING: Suites = Suites { base: "testing", beside: None };
/// The release before.
pub const PREVIOUS: Suites = Suites { base: "bookworm", beside: None };

impl fmt::Display for Suites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.beside {
            Some(beside) => write!(f, "{} with {beside}", self.base),
            None => write!(f, "{}", self.base),
        }
    }
}
