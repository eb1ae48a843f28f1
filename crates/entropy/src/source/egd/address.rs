//! Where an EGD is: a socket file, or a host and a port.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

/// What comes between the address of a daemon and our own.
const LOCAL: &str = ",local=";

/// The address of an entropy gathering daemon: `unix:PATH`, `tcp:HOST:PORT` or `udp:HOST:PORT`, the
/// last also with `,local=HOST:PORT` behind it.
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
        /// Where our own datagrams come from, if the daemon minds.
        local: Option<Local>,
    },
}

/// Our own end: an address of this machine, and a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Name or IP address; without it, any of this machine.
    pub host: Option<String>,
    /// Number of the port; with 0 the kernel chooses.
    pub port: u16,
}

impl Local {
    /// An address of the same kind as the daemon's.
    ///
    /// # Errors
    /// The name cannot be resolved, or has no address of that kind.
    pub(super) fn resolve(&self, peer: SocketAddr) -> io::Result<SocketAddr> {
        let Some(host) = &self.host else {
            return Ok(unspecified(peer, self.port));
        };
        (host.as_str(), self.port)
            .to_socket_addrs()?
            .find(|address| address.is_ipv4() == peer.is_ipv4())
            .ok_or_else(no_address)
    }
}

/// Any address of this machine, of the same kind as another one's.
pub(super) fn unspecified(peer: SocketAddr, port: u16) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, port).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, port).into(),
    }
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
            EgdAddress::Tcp { host, port } | EgdAddress::Udp { host, port, .. } => {
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

/// No process listens at a port of this machine, and the kernel happened to choose that very port for
/// our own end: what we send would come back as random bytes.
pub(super) fn connected_to_itself() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionRefused, "no process listens there")
}

impl fmt::Display for EgdAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EgdAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            EgdAddress::Tcp { host, port } => {
                f.write_str("tcp:")?;
                write_host_and_port(f, host, *port)
            }
            EgdAddress::Udp { host, port, local } => {
                f.write_str("udp:")?;
                write_host_and_port(f, host, *port)?;
                let Some(local) = local else { return Ok(()) };
                f.write_str(LOCAL)?;
                write_host_and_port(f, local.host.as_deref().unwrap_or(""), local.port)
            }
        }
    }
}

fn write_host_and_port(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
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
                let (daemon, local) = match rest.split_once(LOCAL) {
                    Some((daemon, local)) => (daemon, Some(parse_local(local)?)),
                    None => (rest, None),
                };
                let (host, port) = host_and_port(daemon)?;
                Ok(EgdAddress::Udp { host, port, local })
            }
            _ => Err("after egd: comes unix:, tcp: or udp:"),
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port =
        port.parse().ok().filter(|port| *port > 0).ok_or("a port is a number from 1 to 65535")?;
    Ok((parse_host(host)?, port))
}

fn parse_local(text: &str) -> Result<Local, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("after local= comes HOST:PORT or :PORT")?;
    let port = port.parse().map_err(|_| "a local port is a number from 0 to 65535")?;
    let host = if host.is_empty() { None } else { Some(parse_host(host)?) };
    Ok(Local { host, port })
}

fn parse_host(host: &str) -> Result<String, &'static str> {
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
    Ok(host.into())
}
