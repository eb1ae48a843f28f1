//! What a device does by itself: interrupts and DMA.

use std::fmt;

use serde::Deserialize;

use super::RegisterValue;

/// An interrupt.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Interrupt {
    /// Its name, in capitals.
    pub name: String,
    /// How the guest gets it.
    #[serde(default)]
    pub kind: InterruptKind,
    /// Its vector, when it is no pin.
    #[serde(default)]
    pub vector: u16,
    /// The write after which it comes, now or a moment later.
    pub raised_by: RegisterValue,
    /// The write that acknowledges it.
    pub acknowledged_by: RegisterValue,
}

/// How a guest gets an interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterruptKind {
    /// By its pin, which is asserted until the interrupt is acknowledged.
    #[serde(rename = "intx")]
    Intx,
    /// By a message.
    Msi,
    /// By a message, from a table in a BAR.
    MsiX,
    /// By what the device has.
    #[default]
    Any,
}

impl fmt::Display for InterruptKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Intx => "intx",
            Self::Msi => "msi",
            Self::MsiX => "msi-x",
            Self::Any => "any",
        })
    }
}

/// A transfer by DMA to the guest's memory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Transfer {
    /// Its name, in capitals.
    pub name: String,
    /// The registers that take the address of the memory that is written, the low half first.
    pub destination: Vec<String>,
    /// Those that take the address of the memory that is read, when it copies.
    #[serde(default)]
    pub source: Vec<String>,
    /// The register that takes the number of bytes.
    pub length: String,
    /// How many bytes it is tried with.
    #[serde(default = "usual_bytes")]
    pub bytes: usize,
    /// What it writes when it does not copy.
    #[serde(default)]
    pub contents: Contents,
    /// The write that starts it.
    pub started_by: RegisterValue,
    /// The bits that the device sets when it has ended.
    pub done: RegisterValue,
    /// The write that clears them, for the next transfer.
    pub acknowledged_by: RegisterValue,
    /// The bits that the device sets when there is no memory at the address.
    pub failed: Option<RegisterValue>,
    /// The interrupt that comes when it has ended.
    pub interrupt: Option<InterruptKind>,
}

/// What a device writes to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contents {
    /// The numbers that reads of the random register give after the same seed.
    Numbers,
    /// Any numbers, other ones each time.
    #[default]
    Random,
}

fn usual_bytes() -> usize {
    256
}

/// The most bytes that a transfer is tried with.
pub(super) const MAX_BYTES: usize = 4096;

impl Transfer {
    /// Its registers, each with the profile's word for it.
    pub(super) fn registers(&self) -> Vec<(&'static str, &str)> {
        let mut registers = vec![
            ("length", self.length.as_str()),
            ("started-by", &self.started_by.register),
            ("done", &self.done.register),
            ("acknowledged-by", &self.acknowledged_by.register),
        ];
        registers.extend(self.failed.iter().map(|failed| ("failed", failed.register.as_str())));
        registers.extend(self.destination.iter().map(|name| ("destination", name.as_str())));
        registers.extend(self.source.iter().map(|name| ("source", name.as_str())));
        registers
    }
}
