//! One thing that happened, with its name.

use std::fmt;

use serde::Serialize;

/// What something that happened was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An access to a register.
    Register,
    /// An access to configuration space.
    Config,
    /// An interrupt, or a change of the pin.
    Interrupt,
    /// An access of the device to guest memory.
    Dma,
    /// A timer or a wake-up of the device.
    Timer,
    /// Another message of the client.
    Message,
    /// A client comes or goes, records were lost.
    #[default]
    Session,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] = [
        Kind::Register,
        Kind::Config,
        Kind::Interrupt,
        Kind::Dma,
        Kind::Timer,
        Kind::Message,
        Kind::Session,
    ];

    /// Its name, on a command line for example.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Register => "register",
            Kind::Config => "config",
            Kind::Interrupt => "interrupt",
            Kind::Dma => "dma",
            Kind::Timer => "timer",
            Kind::Message => "message",
            Kind::Session => "session",
        }
    }
}

/// An access has a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// From the register, or from guest memory to the device.
    Read,
    /// The other way.
    Write,
}

impl Access {
    pub(crate) fn of(is_write: bool) -> Self {
        if is_write { Access::Write } else { Access::Read }
    }
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Entry {
    /// Which event of the file it is in.
    pub index: usize,
    /// Nanoseconds since the beginning of the file.
    pub time: u64,
    /// The session; 0 for the program.
    pub session: u32,
    /// What it was.
    pub kind: Kind,
    /// The register, interrupt, address or message.
    pub name: String,
    /// The direction of an access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The region of an access to registers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<u32>,
    /// The offset in the region, or the address in guest memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes of an access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// What was read or written; other words for what has no value.
    pub value: String,
    /// Nanoseconds until the answer was ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<u32>,
    /// The errno of a refusal.
    #[serde(skip_serializing_if = "is_zero")]
    pub error: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_zero(error: &u32) -> bool {
    *error == 0
}

impl Entry {
    /// One without its place in the file.
    pub(crate) fn new(kind: Kind, name: impl Into<String>, value: impl Into<String>) -> Self {
        Entry { kind, name: name.into(), value: value.into(), ..Entry::default() }
    }
}

/// In words, without the time: "SEED write 4 <- 0x7".
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, value, bytes) = (&self.name, &self.value, self.bytes.unwrap_or(0));
        match (self.access, self.error) {
            (Some(Access::Read), 0) => write!(f, "{name} read {bytes} -> {value}"),
            (Some(Access::Write), 0) => write!(f, "{name} write {bytes} <- {value}"),
            (Some(Access::Read), error) => write!(f, "{name} read {bytes} failed: errno {error}"),
            (Some(Access::Write), error) => write!(f, "{name} write {bytes} failed: errno {error}"),
            (None, 0) if value.is_empty() => f.write_str(name),
            (None, 0) => write!(f, "{name} {value}"),
            (None, error) => write!(f, "{name} {value} failed: errno {error}"),
        }
    }
}
