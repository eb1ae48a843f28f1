//! The file as it is written: tables and keys, with the places where they stand.
//!
//! Only names and types are checked here; see [`super::check`] and [`super::guest`].

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::amount::BandwidthTable;

/// How to write a table that there can be several of.
const SEVERAL: &str = "; there can be several of these, in [[ ]]";

/// The file without its guests.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub control_socket: Option<Spanned<PathBuf>>,
    pub status_file: Option<PathBuf>,
    pub state_file: Option<PathBuf>,
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceTable>,
    #[serde(default, rename = "group")]
    pub groups: Vec<GroupTable>,
    /// Named here for the list of known keys; see [`parse`].
    #[serde(default, rename = "guest")]
    _guests: IgnoredAny,
}

/// `[[guest]]` tables as they are.
pub(super) type GuestTables<'a> = Vec<Spanned<DeTable<'a>>>;

/// What is wrong with a file, and at which offset.
pub(super) struct Invalid {
    pub offset: usize,
    pub reason: String,
}

/// Takes a file apart: what is not about guests, and the `[[guest]]` tables as they are. Which keys
/// those have depends on the device.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn parse(text: &str) -> Result<(File, GuestTables<'_>), Invalid> {
    let reason = |error: toml::de::Error| {
        let mut reason = error.message().to_owned();
        if reason == "invalid type: map, expected a sequence" {
            reason += SEVERAL;
        }
        Invalid { offset: error.span().map_or(0, |span| span.start), reason }
    };
    let mut root = DeTable::parse(text).map_err(reason)?;
    let guests = match root.get_mut().remove("guest") {
        Some(guests) => tables(guests)?,
        None => Vec::new(),
    };
    Ok((File::deserialize(toml::Deserializer::from(root)).map_err(reason)?, guests))
}

/// The tables of `[[guest]]`.
fn tables(guests: Spanned<DeValue<'_>>) -> Result<GuestTables<'_>, Invalid> {
    let invalid =
        |offset| Invalid { offset, reason: format!("invalid guest: expected tables{SEVERAL}") };
    let offset = guests.span().start;
    let DeValue::Array(guests) = guests.into_inner() else { return Err(invalid(offset)) };
    let mut tables = Vec::new();
    for guest in guests {
        let span = guest.span();
        let DeValue::Table(table) = guest.into_inner() else { return Err(invalid(span.start)) };
        tables.push(Spanned::new(span, table));
    }
    Ok(tables)
}

/// `[[source]]`: a source that guests share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SourceTable {
    pub name: Spanned<String>,
    pub source: Spanned<String>,
    #[serde(default)]
    pub file_loop: bool,
    pub health: Option<Spanned<String>>,
    pub bandwidth: BandwidthTable,
    #[serde(default)]
    pub overcommit: bool,
}

/// `[[group]]`: guests that share a part of a source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct GroupTable {
    pub name: Spanned<String>,
    pub parent: Spanned<String>,
    pub bandwidth: Option<BandwidthTable>,
    #[serde(default)]
    pub overcommit: bool,
}
