//! A fast way for bytes out of a guest: QEMU's virtio-serial port, read by the host.

use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lab::RunDir;
use lab::guest::Builder;

/// The port's device in the guest.
pub const IN_GUEST: &str = "/dev/vport*p1";
/// The socket in the run's folder.
const SOCKET: &str = "port.sock";
/// How long nothing may come.
const WAIT_TIMEOUT: Duration = Duration::from_secs(120);

/// So many bytes had come by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arrival {
    pub time: Duration,
    pub bytes: usize,
}

/// The host's end.
#[derive(Debug)]
pub struct Port {
    listener: UnixListener,
    stream: Option<UnixStream>,
}

impl Port {
    /// Makes the host's end, for a guest that is to be started.
    pub fn open(run: &RunDir) -> Result<Self> {
        Ok(Self { listener: run.listen(SOCKET)?, stream: None })
    }

    /// A guest with the port.
    pub fn attach<'run>(&self, guest: Builder<'run>) -> Builder<'run> {
        let socket = format!("socket,id=port,path={SOCKET}");
        guest
            .arguments(&["-device", "virtio-serial-pci", "-chardev", &socket])
            .arguments(&["-device", "virtserialport,chardev=port,name=port"])
    }

    /// The stream of what the guest writes. QEMU has connected before the guest boots.
    pub fn stream(&mut self) -> Result<&mut UnixStream> {
        if self.stream.is_none() {
            let (stream, _) = self.listener.accept().context("QEMU does not connect")?;
            stream.set_read_timeout(Some(WAIT_TIMEOUT)).context("cannot set a socket's timeout")?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().context("it was just made")
    }

    /// Reads so many bytes and says when they came, counted from now.
    pub fn arrivals(&mut self, count: usize) -> Result<Vec<Arrival>> {
        let stream = self.stream()?;
        let begun = Instant::now();
        let mut arrivals = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        let mut bytes = 0;
        while bytes < count {
            let room = buffer.len().min(count - bytes);
            let more = match stream.read(&mut buffer[..room]) {
                Ok(0) => bail!("QEMU closed the port"),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result.context("nothing came from the guest")?,
            };
            bytes += more;
            arrivals.push(Arrival { time: begun.elapsed(), bytes });
        }
        Ok(arrivals)
    }
}
