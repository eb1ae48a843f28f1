//! File descriptors that come beside the bytes of a message.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::wire::MAX_MESSAGE_FDS;
use crate::descriptors::with_remedy;

/// File descriptors that came with a message. Dropping them closes them.
#[derive(Debug, Default)]
pub(crate) struct MessageFds {
    pub fds: Vec<OwnedFd>,
    /// More came than [`MAX_MESSAGE_FDS`]; the surplus is closed already.
    pub too_many: bool,
    /// Some are missing: this process could open no more descriptors.
    pub missing: bool,
}

impl MessageFds {
    pub fn push(&mut self, fd: OwnedFd) {
        if self.fds.len() < MAX_MESSAGE_FDS {
            self.fds.push(fd);
        } else {
            self.too_many = true;
        }
    }

    /// Whether all have come that fit into a message.
    ///
    /// # Errors
    /// `EMFILE`: this process could not open some of them.
    pub fn check_complete(&self) -> Result<(), Errno> {
        if !self.missing {
            return Ok(());
        }
        log::warn!("descriptors of a client are lost: {}", with_remedy(&Errno::MFILE));
        Err(Errno::MFILE)
    }

    /// Whether any came.
    pub fn any(&self) -> bool {
        self.too_many || !self.fds.is_empty()
    }
}

/// One recvmsg(2): the number of bytes, 0 at the end of the stream, `None` if it would block, or a
/// signal came first.
pub(crate) fn receive_some(
    socket: &OwnedFd,
    buffer: &mut [u8],
    fds: &mut MessageFds,
    flags: RecvFlags,
) -> Result<Option<usize>, Errno> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MAX_MESSAGE_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffers = [IoSliceMut::new(buffer)];
    match recvmsg(socket, &mut buffers, &mut control, flags | RecvFlags::CMSG_CLOEXEC) {
        Ok(received) => {
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(received) = message {
                    received.for_each(|fd| fds.push(fd));
                }
            }
            if received.flags.contains(ReturnFlags::CTRUNC) {
                // There was room for more than this message may have, or else for more than
                // this process may open.
                fds.missing |= fds.fds.len() < MAX_MESSAGE_FDS;
                fds.too_many = true;
            }
            Ok(Some(received.bytes))
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        Err(Errno::CONNRESET) => Ok(Some(0)),
        Err(errno) => Err(errno),
    }
}
