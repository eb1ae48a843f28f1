//! Whether a client may have the device at all.

use std::fmt;

/// Decides before a client gets its session, and hears when the client has disconnected. A policy
/// can check, for example, whether the bandwidth that the guest is promised is still available.
///
/// It runs in the thread of the client's session and for one client at a time: if it takes long,
/// only clients of the same server wait.
pub trait AdmissionPolicy: Send + Sync {
    /// A client has connected.
    ///
    /// # Errors
    /// The client is rejected. The reason goes to the log; the client gets `EUSERS`, which QEMU
    /// shows as "Too many users".
    fn admit(&self) -> Result<(), AdmissionError>;

    /// The session of an admitted client has ended.
    fn release(&self);
}

/// Why a policy rejects a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AdmissionError(String);

impl AdmissionError {
    /// With a reason for people, such as "a floor of 16 KiB/s does not fit: 8 KiB/s are left".
    pub fn new(reason: impl fmt::Display) -> Self {
        AdmissionError(reason.to_string())
    }
}

/// An admitted client. The policy hears of its end when this is dropped.
#[must_use = "the policy hears of the client's end when this is dropped"]
pub struct AdmissionGuard<'p>(Option<&'p dyn AdmissionPolicy>);

impl<'p> AdmissionGuard<'p> {
    /// Asks the policy; without one every client is admitted.
    ///
    /// # Errors
    /// The policy's.
    pub fn ask(policy: Option<&'p dyn AdmissionPolicy>) -> Result<Self, AdmissionError> {
        if let Some(policy) = policy {
            policy.admit()?;
        }
        Ok(AdmissionGuard(policy))
    }
}

impl Drop for AdmissionGuard<'_> {
    fn drop(&mut self) {
        if let Some(policy) = self.0 {
            policy.release();
        }
    }
}
