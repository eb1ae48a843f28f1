//! A call of recvmmsg(2) or sendmmsg(2) for one message whose header is in a state page.

use std::mem::{offset_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::ptr;

use rustix::io::Errno;
use vm_memory::VolatileSlice;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::map::{Area, Map};

/// In place of a number of bytes: the system call has not come to its end.
const UNKNOWN: u32 = u32::MAX;

/// Which of the two calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Receive,
    Send,
}

/// A header in a page, by its offset there.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallHeader(pub usize);

/// Control data with descriptors begin with that.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
struct ControlHeader {
    length: usize,
    level: i32,
    kind: i32,
}

/// Bytes of control data for some descriptors.
pub(super) const fn control_len(fds: usize) -> usize {
    size_of::<ControlHeader>() + fds * size_of::<RawFd>()
}

/// Control data that pass a descriptor on.
pub(super) fn control_of(fd: RawFd) -> Vec<u8> {
    let (level, kind) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
    let header = ControlHeader { length: control_len(1), level, kind };
    [header.as_bytes(), &fd.to_ne_bytes()].concat()
}

/// The descriptors that control data have passed.
fn fds_in(control: &[u8]) -> Vec<RawFd> {
    match ControlHeader::read_from_prefix(control) {
        Ok((header, fds))
            if (header.level, header.kind) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) =>
        {
            let length = header.length.saturating_sub(control_len(0)).min(fds.len());
            let fds = fds[..length].chunks_exact(size_of::<RawFd>());
            fds.filter_map(|fd| RawFd::read_from_bytes(fd).ok()).collect()
        }
        _ => Vec::new(),
    }
}

impl CallHeader {
    const LENGTH: usize = offset_of!(libc::mmsghdr, msg_len);
    const CONTROL_LEN: usize = offset_of!(libc::mmsghdr, msg_hdr.msg_controllen);
    const FLAGS: usize = offset_of!(libc::mmsghdr, msg_hdr.msg_flags);

    /// Makes the call: bytes and control data go from or to places in the page.
    ///
    /// # Errors
    /// What the system call says.
    pub fn call(
        self,
        call: Call,
        socket: BorrowedFd<'_>,
        area: &Area,
        [bytes, control]: [&VolatileSlice<'_>; 2],
        flags: u32,
    ) -> Result<(), Errno> {
        let header = area.part(self.0, size_of::<libc::mmsghdr>());
        let [header, bytes_at, control_at] =
            [&header, bytes, control].map(|place| place.ptr_guard_mut().as_ptr());
        let header: *mut libc::mmsghdr = header.cast();
        assert!(header.is_aligned(), "headers are aligned in a page");
        let mut vector = libc::iovec { iov_base: bytes_at.cast(), iov_len: bytes.len() };
        let (socket, flags) = (socket.as_raw_fd(), flags as _);
        // SAFETY: a zeroed mmsghdr is a valid value of that C structure. It names places in the mapping,
        // of which there are no references, and `vector`, which lives during the call; the kernel
        // writes to the places and to the header. The header's own place is large enough and aligned.
        let calls = unsafe {
            let mut message: libc::mmsghdr = zeroed();
            message.msg_hdr.msg_iov = &raw mut vector;
            message.msg_hdr.msg_iovlen = 1;
            if !control.is_empty() {
                message.msg_hdr.msg_control = control_at.cast();
                message.msg_hdr.msg_controllen = control.len() as _;
            }
            message.msg_len = UNKNOWN;
            header.write_volatile(message);
            match call {
                Call::Receive => libc::recvmmsg(socket, header, 1, flags, ptr::null_mut()),
                Call::Send => libc::sendmmsg(socket, header, 1, flags),
            }
        };
        if calls == 1 { Ok(()) } else { Err(last_errno()) }
    }

    /// Forgets how many bytes the last call has received or sent.
    pub fn clear(self, map: &Map) {
        map.store(self.0 + Self::LENGTH, UNKNOWN);
    }

    /// How many bytes the call has received or sent, if it has come to its end.
    pub fn length(self, map: &Map) -> Option<u32> {
        Some(map.load(self.0 + Self::LENGTH)).filter(|length| *length != UNKNOWN)
    }

    /// Whether descriptors were received for which there was no room.
    pub fn is_truncated(self, map: &Map) -> bool {
        map.load::<i32>(self.0 + Self::FLAGS) & libc::MSG_CTRUNC != 0
    }

    /// The descriptors that were received. The kernel's length is held against the room for them.
    pub fn fds(self, map: &Map, control_at: usize, room: usize) -> Vec<RawFd> {
        let length = map.load::<usize>(self.0 + Self::CONTROL_LEN).min(room);
        fds_in(&map.read(control_at, length))
    }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
