//! The socket of a server: one request at a time, each answered, rejected or given up in time.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::anyhow;
use rustix::io::Errno;
use vfio_user_client::{Connection as Client, Header, ReceiveError};

use super::protocol::{self, MAX_REPLY_LEN, Request};

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
#[error("{}: {request}: {problem}{hint}", path.display())]
pub struct RequestError {
    path: PathBuf,
    request: String,
    problem: Problem,
    /// What may be the reason.
    hint: &'static str,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("no answer for {} ms", .0.as_millis())]
    NoAnswer(Duration),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server refuses: {}", errno_text(*.0))]
    Refused(i32),
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
const SILENT_AT_FIRST: &str = "; is another client connected, or is this not a vfio-user server?";
const CLOSED_AT_FIRST: &str = "; is this a vfio-user server?";
const BUSY: &str =
    "; another client is connected, such as a QEMU, and the server takes one at a time";

impl RequestError {
    /// Whether the server has answered, with an error.
    pub fn is_refusal(&self) -> bool {
        matches!(self.problem, Problem::Refused(_))
    }
}

impl From<ReceiveError> for Problem {
    fn from(error: ReceiveError) -> Self {
        match error {
            ReceiveError::Timeout(time) => Problem::NoAnswer(time),
            ReceiveError::Closed => Problem::Closed,
            ReceiveError::Length(length) => {
                Problem::NotVfioUser(format!("it announces an answer of {length} bytes"))
            }
            ReceiveError::Socket(errno) => Problem::Socket(errno.into()),
        }
    }
}

/// A connection to a server.
#[derive(Debug)]
pub struct Connection {
    path: PathBuf,
    client: Client,
}

impl Connection {
    /// Connects to a socket and agrees on a version. No request may take much longer than `timeout`,
    /// which is not zero.
    ///
    /// # Errors
    /// No server is there, or it is none for this client.
    pub fn open(path: &Path, timeout: Duration) -> anyhow::Result<Self> {
        let client = Client::connect(path, timeout)
            .map_err(|errno| anyhow!("{}: {}", path.display(), reason(path, errno)))?;
        let client = client.with_max_message_len(MAX_REPLY_LEN);
        let mut connection = Connection { path: path.into(), client };
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
    /// The server rejects the request, does not reply, disconnects, or replies with nonsense.
    pub fn ask(&mut self, request: &Request) -> Result<Vec<u8>, RequestError> {
        self.exchange(request).map_err(|problem| self.error(request, problem))
    }

    fn error(&self, request: &Request, problem: Problem) -> RequestError {
        let hint = match problem {
            _ if *request != Request::Version => "",
            Problem::NoAnswer(_) => SILENT_AT_FIRST,
            Problem::Closed => CLOSED_AT_FIRST,
            Problem::Refused(errno) if errno == Errno::BUSY.raw_os_error() => BUSY,
            _ => "",
        };
        RequestError { path: self.path.clone(), request: request.to_string(), problem, hint }
    }

    fn exchange(&mut self, request: &Request) -> Result<Vec<u8>, Problem> {
        let id = self.client.send(request.command(), 0, &request.payload(), &[])?;
        let header = self.client.receive_header()?;
        check(&header, id)?;
        let answer = self.client.receive_payload(header)?.payload;
        if let Some(errno) = header.errno() {
            return Err(Problem::Refused(errno));
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
}

/// Refuses what cannot be the answer to this request.
fn check(header: &Header, id: u16) -> Result<(), Problem> {
    let what = if !header.is_reply() {
        "it sends something else than an answer".into()
    } else if header.id != id {
        format!("it answers message {}, and was sent {id}", header.id)
    } else {
        return Ok(());
    };
    Err(Problem::NotVfioUser(what))
}

/// Why a connection cannot be made.
fn reason(path: &Path, errno: Errno) -> String {
    let is_socket = || path.metadata().is_ok_and(|data| data.file_type().is_socket());
    let text = match errno {
        Errno::NOENT => "there is no such socket; start the server first",
        Errno::CONNREFUSED if is_socket() => {
            "no process listens at this socket; its server has ended, or is about to start"
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
