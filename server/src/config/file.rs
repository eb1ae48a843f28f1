//! The file as it is written: tables and keys, with the places where they stand.
//!
//! Nothing is judged here but names and types; see [`super::check`].

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::amount::Amount;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct File {
    pub control_socket: Option<Spanned<PathBuf>>,
    pub status_file: Option<PathBuf>,
    #[serde(default, rename = "source")]
    pub sources: Vec<SourceTable>,
    #[serde(default, rename = "group")]
    pub groups: Vec<GroupTable>,
    #[serde(default, rename = "guest")]
    pub guests: Vec<Spanned<GuestTable>>,
}

/// `[[source]]`: a source that guests share.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct SourceTable {
    pub name: Spanned<String>,
    pub source: Spanned<String>,
    #[serde(default)]
    pub file_loop: bool,
    pub bandwidth: Spanned<BandwidthTable>,
    #[serde(default)]
    pub overcommit: bool,
}

/// `[[group]]`: guests that share a part of a source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct GroupTable {
    pub name: Spanned<String>,
    pub parent: Spanned<String>,
    pub bandwidth: Option<Spanned<BandwidthTable>>,
    #[serde(default)]
    pub overcommit: bool,
}

/// `bandwidth = { ... }`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct BandwidthTable {
    pub average: Option<Amount>,
    pub peak: Option<Amount>,
    pub burst: Option<Amount>,
    pub floor: Option<Amount>,
}

/// `[[guest]]`: a socket with a device. The keys are the options of the command line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct GuestTable {
    pub name: Spanned<String>,
    pub socket: Spanned<PathBuf>,
    pub socket_mode: Option<Spanned<String>>,
    pub transport: Option<Spanned<String>>,
    pub device: Option<Spanned<String>>,
    pub generator: Option<Spanned<String>>,
    pub seed: Option<Spanned<u32>>,
    pub keep_state: Option<Spanned<bool>>,
    pub virtio: Option<Spanned<String>>,
    pub packed: Option<Spanned<bool>>,
    pub vectors: Option<Spanned<u32>>,
    pub source: Option<Spanned<String>>,
    pub file_loop: Option<Spanned<bool>>,
    pub max_bytes: Option<Spanned<i64>>,
    pub period: Option<Spanned<i64>>,
    pub bandwidth: Option<Spanned<BandwidthTable>>,
    #[serde(default)]
    pub disconnect: bool,
}
