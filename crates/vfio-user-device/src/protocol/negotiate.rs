//! VERSION: what a client proposes, and whether it can be served.

use zerocopy::FromBytes;

use super::message_fds::MessageFds;
use super::version::parse_version_data;
use super::wire::{Capabilities, Command, Header, VERSION_MAJOR, VERSION_MINOR, Version};

/// Checks a first message: what version and which capabilities the client proposes, or why it
/// cannot be talked to.
pub(crate) fn version(
    header: &Header,
    payload: &[u8],
    fds: &MessageFds,
) -> Result<(Version, Capabilities), String> {
    if !header.is_command() || header.command != Command::Version as u16 {
        return Err(format!("the first message is command {}, not VERSION", header.command));
    }
    if !header.wants_reply() {
        return Err("VERSION that wants no reply".into());
    }
    if fds.any() {
        return Err("VERSION with file descriptors".into());
    }
    let (version, data) = Version::read_from_prefix(payload)
        .map_err(|_| format!("VERSION of {} bytes", payload.len()))?;
    if version.major != VERSION_MAJOR {
        return Err(format!("major version {}, {VERSION_MAJOR} is spoken here", version.major));
    }
    let capabilities = parse_version_data(data).map_err(|error| error.to_string())?;
    Ok((Version { minor: version.minor.min(VERSION_MINOR), ..version }, capabilities))
}
