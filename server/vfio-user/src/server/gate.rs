//! Who decides whether a client may have the device at all.

use std::fmt;

/// Something that is asked before a client gets its session, and told when it has gone: whether
/// what the guest is promised still fits, for example.
///
/// It is asked in the thread of the client's session, so that it may take its time: only clients
/// of the same server wait for it. It is asked for one client at a time.
pub trait Gate: Send + Sync {
    /// A client has connected.
    ///
    /// # Errors
    /// It may not have the device. The reason goes to the log; the client is told `EUSERS`, which
    /// QEMU shows as "Too many users".
    fn admit(&self) -> Result<(), Refused>;

    /// A client that was admitted has gone, and its session has ended.
    fn left(&self);
}

/// Why a gate refuses a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// With a reason for people, such as "a floor of 16 KiB/s does not fit: 8 KiB/s are left".
    pub fn new(reason: impl fmt::Display) -> Self {
        Refused(reason.to_string())
    }
}

/// An admitted client's stay. The gate hears of its end when this goes.
#[must_use = "the gate hears of the end when this goes"]
pub struct Pass<'g>(Option<&'g dyn Gate>);

impl<'g> Pass<'g> {
    /// Asks the gate; without one everybody is admitted.
    ///
    /// # Errors
    /// The gate's.
    pub fn ask(gate: Option<&'g dyn Gate>) -> Result<Self, Refused> {
        if let Some(gate) = gate {
            gate.admit()?;
        }
        Ok(Pass(gate))
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.left();
        }
    }
}
