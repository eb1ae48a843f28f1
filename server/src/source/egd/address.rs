//! Where an EGD is: a socket file, or a host and a port.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// The address of an entropy gathering daemon: `unix:PATH`, `tcp:HOST:PORT` or `udp:HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgdAddress {
    /// A stream socket in the file system.
    Unix(PathBuf),
    /// A TCP port.
    Tcp {
        /// Name or IP address.
        host: String,
        /// Number of the port, not 0.
        port: u16,
    },
    /// A UDP port. Requests and answers are datagrams.
    Udp {
        /// Name or IP address.
        host: String,
        /// Number of the port, not 0.
        port: u16,
    },
}

impl EgdAddress {
    /// The IP addresses behind the name. This may take long, so it is work for a thread that has
    /// the time.
    ///
    /// # Errors
    /// The name cannot be resolved.
    pub(super) fn resolve(&self) -> io::Result<Vec<SocketAddr>> {
        let resolved = match self {
            EgdAddress::Unix(_) => Vec::new(),
            EgdAddress::Tcp { host, port } | EgdAddress::Udp { host, port } => {
                (host.as_str(), *port).to_socket_addrs()?.collect()
            }
        };
        if resolved.is_empty() { Err(no_address()) } else { Ok(resolved) }
    }
}

/// A name without addresses, which resolvers do not give normally.
pub(super) fn no_address() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "there is no address of that name")
}

/// Nobody listens at a port of this machine, and the kernel happened to choose that very port for
/// our own end: what we send would come back as random bytes.
pub(super) fn connected_to_itself() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens there")
}

impl fmt::Display for EgdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (transport, host, port) = match self {
            EgdAddress::Unix(path) => return write!(f, "unix:{}", path.display()),
            EgdAddress::Tcp { host, port } => ("tcp", host, port),
            EgdAddress::Udp { host, port } => ("udp", host, port),
        };
        if host.contains(':') {
            write!(f, "{transport}:[{host}]:{port}")
        } else {
            write!(f, "{transport}:{host}:{port}")
        }
    }
}

impl FromStr for EgdAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("unix", "")) => Err("the path is missing"),
            Some(("unix", path)) => Ok(EgdAddress::Unix(path.into())),
            Some(("tcp", rest)) => {
                host_and_port(rest).map(|(host, port)| EgdAddress::Tcp { host, port })
            }
            Some(("udp", rest)) => {
                host_and_port(rest).map(|(host, port)| EgdAddress::Udp { host, port })
            }
            _ => Err("after egd: comes unix:, tcp: or udp:"),
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port =
        port.parse().ok().filter(|port| *port > 0).ok_or("a port is a number from 1 to 65535")?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if bracketed.is_none() && host.contains(':') {
        return Err("an IPv6 address goes in [brackets]");
    }
    let host = bracketed.unwrap_or(host);
    if host.is_empty() {
        return Err("the host is missing");
    }
    if host.contains(['[', ']']) {
        return Err("brackets go around the whole host");
    }
    Ok((host.into(), port))
}
