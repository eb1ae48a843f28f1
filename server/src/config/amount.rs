//! Amounts of bytes as `<bandwidth>` of libvirt has them: in KiB, unless a unit says otherwise.

use std::fmt;

use entropy::bandwidth::Bandwidth;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Bytes of a KiB, the unit of a bare number.
const KIB: u64 = 1 << 10;
/// What may stand behind a number, and how many bytes it is.
const UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", KIB), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// An amount of bytes, or of bytes in a second: `64`, which is in KiB, `"512 B"` or `"1 MiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Amount {
    /// In bytes.
    pub bytes: u64,
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AmountVisitor)
    }
}

/// `bandwidth = { ... }`.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BandwidthTable {
    average: Option<Amount>,
    peak: Option<Amount>,
    burst: Option<Amount>,
    floor: Option<Amount>,
}

impl From<BandwidthTable> for Bandwidth {
    fn from(table: BandwidthTable) -> Self {
        let BandwidthTable { average, peak, burst, floor } = table;
        let bytes = |amount: Option<Amount>| amount.map(|amount| amount.bytes);
        Bandwidth {
            average: bytes(average),
            peak: bytes(peak),
            burst: bytes(burst),
            floor: bytes(floor),
        }
    }
}

struct AmountVisitor;

impl Visitor<'_> for AmountVisitor {
    type Value = Amount;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of KiB, or a text with a unit such as \"512 B\" or \"1 MiB\"")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Amount, E> {
        let number = u64::try_from(number).map_err(|_| E::custom("an amount is not negative"))?;
        amount(number, KIB)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Amount, E> {
        let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
        let unit = text[digits.len()..].trim();
        let found = UNITS.iter().find(|(name, _)| *name == unit);
        match (digits.parse(), found) {
            (Ok(number), Some((_, bytes))) => amount(number, *bytes),
            _ => Err(E::custom(format!(
                "{text:?}; expected a number with B, KiB, MiB or GiB behind it"
            ))),
        }
    }
}

fn amount<E: Error>(number: u64, unit: u64) -> Result<Amount, E> {
    let bytes = number.checked_mul(unit).filter(|bytes| i64::try_from(*bytes).is_ok());
    bytes.map(|bytes| Amount { bytes }).ok_or_else(|| E::custom("the amount is too large"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<u64, String> {
        #[derive(serde::Deserialize)]
        struct Line {
            amount: Amount,
        }
        toml::from_str::<Line>(&format!("amount = {text}"))
            .map(|line| line.amount.bytes)
            .map_err(|error| error.message().to_owned())
    }

    #[test]
    fn a_bare_number_is_in_kib_and_a_unit_is_believed() {
        assert_eq!(parse("64"), Ok(65536));
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("\"512 B\""), Ok(512));
        assert_eq!(parse("\"64KiB\""), Ok(65536));
        assert_eq!(parse("\"3 MiB\""), Ok(3 << 20));
        assert_eq!(parse("\"1 GiB\""), Ok(1 << 30));
    }

    #[test]
    fn invalid_amounts_are_rejected() {
        for text in ["\"64\"", "\"x B\"", "\"1 kB\"", "\"1.5 MiB\"", "\"-1 B\"", "\"\""] {
            assert!(parse(text).unwrap_err().contains("expected a number with B"), "{text}");
        }
        assert_eq!(parse("-1").unwrap_err(), "an amount is not negative");
        assert_eq!(parse("9007199254740992").unwrap_err(), "the amount is too large");
        assert!(parse("true").unwrap_err().contains("a number of KiB"));
    }
}
