//! The socket of a server: one request at a time, each answered, refused or given up in time.
//!
//! Nothing that a server says or leaves unsaid can make the probe wait for ever, allocate without
//! bound or panic. That is why it is no `vfio_user::Client`: that one (0.1.7) has no time limit and
//! does not look at the error of an answer, so that it waits for the rest of a refusal for ever.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::protocol::{self, HEADER, Header, LARGEST, Request};

/// What is read from the socket at once: more than any usual answer.
const CHUNK: usize = 4096;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{}: {request}: {problem}", path.display())]
pub struct RequestError {
    path: PathBuf,
    request: String,
    problem: Problem,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("no answer for {} ms{}", .0.as_millis(), .1)]
    NoAnswer(Duration, &'static str),
    #[error("the server closed the connection{0}")]
    Closed(&'static str),
    #[error("the server refuses: {}{}", errno_text(*.0), .1)]
    Refused(i32, &'static str),
    #[error("{0}; is this a vfio-user server?")]
    NotVfioUser(String),
    #[error(transparent)]
    Socket(io::Error),
}

/// What an errno means.
fn errno_text(errno: i32) -> String {
    match errno {
        0 => "it does not say why".into(),
        errno => io::Error::from_raw_os_error(errno).to_string(),
    }
}

/// What may be the reason, when a server behaves like that at the very start.
const SILENT_AT_FIRST: &str = "; is another client connected, or is this no vfio-user server?";
const CLOSED_AT_FIRST: &str = "; is this a vfio-user server?";
const BUSY: &str =
    "; another client is connected, such as a QEMU, and the server takes one at a time";

impl RequestError {
    /// Whether the server has answered, with an error.
    pub fn is_refusal(&self) -> bool {
        matches!(self.problem, Problem::Refused(..))
    }
}

/// A server that there is no connection to.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct ConnectError {
    path: PathBuf,
    reason: String,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    stream: UnixStream,
    timeout: Duration,
    next_id: u16,
    /// What has been read and not been used.
    received: Vec<u8>,
}

impl Connection {
    /// Connects to a socket and agrees on a version. No request may take much longer than `timeout`,
    /// which is not zero.
    ///
    /// # Errors
    /// No server is there, or it is none for this client.
    pub fn open(path: &Path, timeout: Duration) -> anyhow::Result<Self> {
        let stream = connect(path, timeout)
            .map_err(|errno| ConnectError { path: path.into(), reason: reason(path, errno) })?;
        let mut connection =
            Connection { path: path.into(), stream, timeout, next_id: 0, received: Vec::new() };
        let answer = connection.ask(&Request::Version)?;
        let [major, minor] = protocol::version(&answer);
        if major != protocol::VERSION[0] {
            let what = format!("it speaks version {major}.{minor}, not 0");
            return Err(connection.error(&Request::Version, Problem::NotVfioUser(what)).into());
        }
        Ok(connection)
    }

    /// Sends a request and returns the payload of the answer, which has the
    /// [least length](Request::least_payload).
    ///
    /// # Errors
    /// The server refuses, is silent, goes away, or talks nonsense.
    pub fn ask(&mut self, request: &Request) -> Result<Vec<u8>, RequestError> {
        self.exchange(request).map_err(|problem| self.error(request, problem))
    }

    fn error(&self, request: &Request, problem: Problem) -> RequestError {
        let problem = match problem {
            _ if *request != Request::Version => problem,
            Problem::NoAnswer(time, _) => Problem::NoAnswer(time, SILENT_AT_FIRST),
            Problem::Closed(_) => Problem::Closed(CLOSED_AT_FIRST),
            Problem::Refused(errno, _) if errno == Errno::BUSY.raw_os_error() => {
                Problem::Refused(errno, BUSY)
            }
            problem => problem,
        };
        RequestError { path: self.path.clone(), request: request.to_string(), problem }
    }

    fn exchange(&mut self, request: &Request) -> Result<Vec<u8>, Problem> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        self.stream.write_all(&request.encode(id)).map_err(|error| self.problem(error))?;
        let header = self.receive(id)?;
        let answer: Vec<u8> = self.received.drain(..header.size).skip(HEADER).collect();
        if let Some(errno) = header.errno() {
            return Err(Problem::Refused(errno, ""));
        }
        let least = request.least_payload();
        if answer.len() < least {
            return Err(Problem::NotVfioUser(format!(
                "the answer has {} bytes, and needs {least}",
                answer.len()
            )));
        }
        Ok(answer)
    }

    /// Waits until the whole answer to a request is there.
    fn receive(&mut self, id: u16) -> Result<Header, Problem> {
        let deadline = Instant::now() + self.timeout;
        let mut chunk = [0; CHUNK];
        loop {
            if let Some(header) = Header::decode(&self.received) {
                check(&header, id)?;
                if self.received.len() >= header.size {
                    return Ok(header);
                }
            }
            // A single read has a limit, too; this is for a server that sends byte by byte.
            if Instant::now() > deadline {
                return Err(Problem::NoAnswer(self.timeout, ""));
            }
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Problem::Closed("")),
                Ok(bytes) => self.received.extend(&chunk[..bytes]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.problem(error)),
            }
        }
    }

    fn problem(&self, error: io::Error) -> Problem {
        match error.kind() {
            // What a socket with a timeout says.
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Problem::NoAnswer(self.timeout, ""),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Problem::Closed(""),
            _ => Problem::Socket(error),
        }
    }
}

/// Refuses what cannot be the answer to this request.
fn check(header: &Header, id: u16) -> Result<(), Problem> {
    let what = if !header.is_reply() {
        "it sends something else than an answer".into()
    } else if header.id != id {
        format!("it answers message {}, and was sent {id}", header.id)
    } else if !(HEADER..=LARGEST).contains(&header.size) {
        format!("it announces an answer of {} bytes", header.size)
    } else {
        return Ok(());
    };
    Err(Problem::NotVfioUser(what))
}

/// Connects; reads and writes will have a limit, as connecting has.
fn connect(path: &Path, timeout: Duration) -> Result<UnixStream, Errno> {
    let address = SocketAddrUnix::new(path)?;
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(timeout))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(timeout))?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket.into())
}

/// Why a connection cannot be made.
fn reason(path: &Path, errno: Errno) -> String {
    let is_socket = || path.metadata().is_ok_and(|data| data.file_type().is_socket());
    let text = match errno {
        Errno::NOENT => "there is no such socket; start the server first",
        Errno::CONNREFUSED if is_socket() => {
            "nobody listens at this socket; its server has ended, or is about to start"
        }
        Errno::CONNREFUSED | Errno::NOTDIR => "this is not a socket",
        Errno::PROTOTYPE => "this is a socket of another type than vfio-user's",
        Errno::ACCESS | Errno::PERM => {
            "permission denied; be the user that the server runs as, or give the server \
             --socket-mode"
        }
        Errno::AGAIN => "the server accepts no connection, and others wait already",
        Errno::NAMETOOLONG => "the path of a socket has 107 bytes at most",
        other => return io::Error::from(other).to_string(),
    };
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_denied_says_what_to_do() {
        let reason = reason(Path::new("/"), Errno::ACCESS);
        assert!(reason.contains("permission denied") && reason.contains("--socket-mode"));
    }
}
