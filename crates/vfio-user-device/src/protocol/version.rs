//! The JSON of VERSION: what each side can do.
//!
//! Every key is optional and unknown keys are ignored. A server answers with a subset of the keys
//! that the client named, which also keeps the answer to QEMU shorter than its question: it receives
//! the one into a buffer of the other's size.

use serde::{Deserialize, Serialize};

use super::limits::{MAX_DATA_SIZE, MAX_DMA_REGIONS, MAX_MESSAGE_FDS};

/// Longest version data that is looked at, in bytes.
const MAX_VERSION_DATA: usize = 16 << 10;
/// Most file descriptors a client may say it takes; more is taken for an error.
const MAX_CLIENT_FDS: u64 = 1024;
/// Page size that every client's IOVAs are multiples of, in bytes.
const PAGE_SIZE: u64 = 4096;

/// The `capabilities` object, with the keys that were there.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Most file descriptors the sender receives in one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_msg_fds: Option<u64>,
    /// Most bytes of data the sender receives in one message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_data_xfer_size: Option<u64>,
    /// Most DMA regions at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_dma_maps: Option<u64>,
    /// Page sizes of DMA regions, or'ed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsizes: Option<u64>,
    /// Server-to-client commands on a socket of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub twin_socket: Option<TwinSocket>,
    /// REGION_WRITE_MULTI is understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_multiple: Option<bool>,
    /// The sender can do its part of a migration, with these parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub migration: Option<MigrationParameters>,
}

/// The `twin_socket` object.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwinSocket {
    /// The sender can do it, or (in a reply) does it.
    #[serde(default)]
    pub supported: bool,
    /// In a reply: which of the message's descriptors is the socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fd_index: Option<u32>,
}

/// The `migration` object.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct MigrationParameters {
    /// Bytes of a page in a bitmap of written pages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgsize: Option<u64>,
    /// Most bytes of such a bitmap.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bitmap_size: Option<u64>,
}

/// What a server offers, if its client has named it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// A twin socket; its descriptor comes with the reply.
    pub twin_socket: bool,
    /// Migration of the device.
    pub migration: bool,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct VersionData {
    #[serde(default)]
    capabilities: Capabilities,
}

/// Why version data is rejected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VersionError {
    /// Longer than any client needs.
    #[error("version data of {0} bytes, {MAX_VERSION_DATA} at most")]
    TooLong(usize),
    /// The terminating NUL is missing.
    #[error("version data does not end in NUL")]
    NoNul,
    /// Not the JSON that the specification describes. What the client wrote is not repeated: it
    /// may be long, and goes to logs.
    #[error("version data is not as specified: {kind} error in line {line}, column {column}")]
    Json {
        /// "syntax" if it is not JSON, "type" if it has other types than specified.
        kind: &'static str,
        /// Where.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// The reply cannot be written as JSON.
    #[error("cannot write version data: {0}")]
    NotWritten(String),
    /// A number outside of what makes sense.
    #[error("capability {name} is {value}")]
    OutOfRange {
        /// The key.
        name: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Reads what follows the version numbers: nothing, or JSON with a terminating NUL.
///
/// # Errors
/// See [`VersionError`].
pub fn parse_version_data(data: &[u8]) -> Result<Capabilities, VersionError> {
    if data.is_empty() {
        return Ok(Capabilities::default());
    }
    if data.len() > MAX_VERSION_DATA {
        return Err(VersionError::TooLong(data.len()));
    }
    let Some((0, json)) = data.split_last().map(|(last, json)| (*last, json)) else {
        return Err(VersionError::NoNul);
    };
    let capabilities = serde_json::from_slice::<VersionData>(json).map_err(|error| {
        let kind = if error.is_data() { "type" } else { "syntax" };
        VersionError::Json { kind, line: error.line(), column: error.column() }
    })?;
    let capabilities = capabilities.capabilities;
    let check = |name, value: Option<u64>, sane: fn(u64) -> bool| match value {
        Some(value) if !sane(value) => Err(VersionError::OutOfRange { name, value }),
        _ => Ok(()),
    };
    check("max_msg_fds", capabilities.max_msg_fds, |n| n <= MAX_CLIENT_FDS)?;
    check("max_data_xfer_size", capabilities.max_data_xfer_size, |n| n > 0)?;
    let pgsize = capabilities.migration.as_ref().and_then(|migration| migration.pgsize);
    check("migration.pgsize", pgsize, |n| n >= PAGE_SIZE && n.is_power_of_two())?;
    Ok(capabilities)
}

/// The server's answer to what a client proposed: the same keys, with the server's limits. With
/// terminating NUL.
///
/// # Errors
/// [`VersionError::NotWritten`], which a few numbers cannot cause.
pub fn version_data(proposed: &Capabilities, offer: Offer) -> Result<Vec<u8>, VersionError> {
    let migration = proposed.migration.as_ref().map(|proposed| MigrationParameters {
        pgsize: proposed.pgsize.map(|_| PAGE_SIZE),
        max_bitmap_size: proposed.max_bitmap_size.map(|bytes| bytes.min(MAX_DATA_SIZE as u64)),
    });
    let capabilities = Capabilities {
        max_msg_fds: proposed.max_msg_fds.map(|_| MAX_MESSAGE_FDS as u64),
        max_data_xfer_size: proposed.max_data_xfer_size.map(|_| MAX_DATA_SIZE as u64),
        max_dma_maps: proposed.max_dma_maps.map(|_| MAX_DMA_REGIONS as u64),
        pgsizes: proposed.pgsizes.map(|_| PAGE_SIZE),
        twin_socket: offer.twin_socket.then_some(TwinSocket { supported: true, fd_index: Some(0) }),
        write_multiple: proposed.write_multiple.filter(|offered| *offered),
        migration: migration.filter(|_| offer.migration),
    };
    let json = serde_json::to_vec(&VersionData { capabilities });
    let mut json = json.map_err(|error| VersionError::NotWritten(error.to_string()))?;
    json.push(0);
    Ok(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    const QEMU: &[u8] = b"{\"capabilities\": {\"pgsizes\": 4096, \"max_msg_fds\": 16, \
        \"max_dma_maps\": 65535, \"max_data_xfer_size\": 1048576, \"migration\": \
        {\"max_bitmap_size\": 268435456, \"pgsize\": 4096}, \"write_multiple\": true}}\0";

    #[test]
    fn qemus_proposal_is_understood_and_the_answer_is_no_longer() {
        let proposed = parse_version_data(QEMU).unwrap();
        assert_eq!(proposed.max_msg_fds, Some(16));
        assert_eq!(proposed.write_multiple, Some(true));
        let answer =
            |migration| version_data(&proposed, Offer { migration, ..Offer::default() }).unwrap();
        assert!(answer(true).len() <= QEMU.len());
        let mut understood = proposed.clone();
        if let Some(migration) = &mut understood.migration {
            migration.max_bitmap_size = Some(1 << 20);
        }
        assert_eq!(parse_version_data(&answer(true)).unwrap(), understood);
        understood.migration = None;
        assert_eq!(parse_version_data(&answer(false)).unwrap(), understood);
    }

    #[test]
    fn no_data_proposes_nothing_and_gets_nothing() {
        let proposed = parse_version_data(b"").unwrap();
        let offer = Offer { migration: true, ..Offer::default() };
        assert_eq!(version_data(&proposed, offer).unwrap(), b"{\"capabilities\":{}}\0");
    }

    #[test]
    fn invalid_version_data_is_rejected() {
        let nested = ["{\"capabilities\":".repeat(2000), "\0".into()].concat();
        let huge = vec![b' '; MAX_VERSION_DATA + 1];
        let wrong: [&[u8]; 13] = [
            b"{}",
            b"\0",
            b"{\0",
            b"{\"capabilities\": 3}\0",
            b"{\"capabilities\": {\"max_msg_fds\": \"8\"}}\0",
            b"{\"capabilities\": {\"max_msg_fds\": -1}}\0",
            b"{\"capabilities\": {\"max_msg_fds\": 1025}}\0",
            b"{\"capabilities\": {\"max_data_xfer_size\": 0}}\0",
            b"{\"capabilities\": {\"migration\": 1}}\0",
            b"{\"capabilities\": {\"migration\": {\"pgsize\": 4095}}}\0",
            b"{\"capabilities\": \"\xff\xfe\"}\0",
            nested.as_bytes(),
            &huge,
        ];
        for data in wrong {
            assert!(parse_version_data(data).is_err(), "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn unknown_keys_are_ignored() {
        let data =
            b"{\"x\": [1, {}], \"capabilities\": {\"colour\": \"blue\", \"pgsizes\": 4096}}\0";
        assert_eq!(parse_version_data(data).unwrap().pgsizes, Some(4096));
    }
}
