//! Raw bytes, and descriptors with them, to a session.
//!
//! The first byte of an input says how to begin: bit 0, with a VERSION that the session agrees to;
//! bit 1, with a twin socket; bit 2, with a client that takes 16 bytes of data at most; bit 3, with the
//! device's own state in the place of what it had, and in it the bytes that come next: 16 bits of
//! place, 8 of length, and the bytes. Then come chunks: 16 bits of length, a byte whose bits 0 to 4 are the number of descriptors, 5 and 6
//! their kind, 7 whether the twin socket gets them, and the bytes. The session has its turn after
//! each chunk. Whatever it sends has to be made of whole, well-formed messages.
#![no_main]

// Only a part of it is used here.
#[allow(dead_code)]
#[path = "../../tests/common/device.rs"]
mod device;

use std::cell::{Cell, RefCell};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libfuzzer_sys::fuzz_target;
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, Mode, OFlags, ftruncate, memfd_create, open};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use vfio_user_device::fuzzing::{CONFIG_REGION, PciFunction};

const TWIN: &str = ",\"twin_socket\":{\"supported\":true}";
const SMALL: &str = ",\"max_data_xfer_size\":16";
/// Runs after which open descriptors are counted.
const COUNT_EVERY: u32 = 64;

/// The descriptors that go with chunks.
struct Kinds([OwnedFd; 4]);

impl Kinds {
    fn new() -> Self {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, 1 << 16).unwrap();
        let event = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let null = open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let (closed_pipe, _) = rustix::pipe::pipe().unwrap();
        Kinds([memory, event, null, closed_pipe])
    }
}

thread_local! {
    static KINDS: Kinds = Kinds::new();
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 1 << 16]);
    static RUNS: Cell<u32> = const { Cell::new(0) };
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

fn send(socket: &OwnedFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); 256];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    }
    // A full socket, or one that the session has closed, loses the chunk.
    let _ = sendmsg(
        socket,
        &[IoSlice::new(bytes)],
        &mut control,
        SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
    );
}

/// Takes everything that the session has sent, and the last descriptor that came along.
fn drain(socket: &OwnedFd, into: &mut Vec<u8>) -> Option<OwnedFd> {
    BUFFER.with_borrow_mut(|buffer| drain_by(socket, buffer, into))
}

fn drain_by(socket: &OwnedFd, buffer: &mut [u8], into: &mut Vec<u8>) -> Option<OwnedFd> {
    let mut last = None;
    loop {
        let mut space = [MaybeUninit::uninit(); 256];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(buffer)];
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(socket, &mut parts, &mut control, flags);
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                last = fds.last().or(last);
            }
        }
        match received {
            Ok(received) if received.bytes > 0 => {
                into.extend_from_slice(&buffer[..received.bytes]);
            }
            Ok(_) | Err(Errno::AGAIN | Errno::CONNRESET) => return last,
            Err(errno) => panic!("recvmsg: {errno}"),
        }
    }
}

/// What a session sends: replies, error replies of the header alone, DMA_READ and DMA_WRITE.
fn check(mut stream: &[u8], complete: bool) {
    while stream.len() >= 16 {
        let word = |at: usize| u32::from_ne_bytes(stream[at..at + 4].try_into().unwrap());
        let command = u16::from_ne_bytes(stream[2..4].try_into().unwrap());
        let (size, flags, error) = (word(4) as usize, word(8), word(12));
        match flags {
            0 => assert!(command == 11 || command == 12, "command {command}"),
            0x01 => assert_eq!(error, 0),
            0x21 => assert!(size == 16 && (1..4096).contains(&error)),
            _ => panic!("flags {flags:#x}"),
        }
        assert!(size >= 16);
        if stream.len() < size {
            break;
        }
        stream = &stream[size..];
    }
    assert!(stream.is_empty() || !complete, "{} bytes left over", stream.len());
}

fn version(mode: u8) -> Vec<u8> {
    let twin = if mode & 2 != 0 { TWIN } else { "" };
    let small = if mode & 4 != 0 { SMALL } else { "" };
    let json = format!("{{\"capabilities\":{{\"max_msg_fds\":16{twin}{small}}}}}\0");
    let size = 20 + json.len() as u32;
    let mut message = [0, 0, 1, 0].to_vec();
    message.extend(size.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([0, 0, 1, 0]);
    message.extend(json.as_bytes());
    message
}

/// A command with this payload.
fn command(number: u16, payload: &[u8]) -> Vec<u8> {
    let mut message = [0, 0].to_vec();
    message.extend(number.to_ne_bytes());
    message.extend((16 + payload.len() as u32).to_ne_bytes());
    message.extend([0; 8]);
    message.extend(payload);
    message
}

/// DEVICE_FEATURE: another migration state.
fn set_state(state: u32) -> Vec<u8> {
    command(16, &[16, 0x2_0002, state, 0].map(u32::to_ne_bytes).concat())
}

/// Lets the device give its state, and take it back with other bytes in it. Returns what the input
/// has left.
fn migrate<'d>(
    socket: &OwnedFd,
    turn: &mut dyn FnMut() -> bool,
    stream: &mut Vec<u8>,
    data: &'d [u8],
) -> &'d [u8] {
    let mut say = |message: &[u8]| {
        send(socket, message, &[]);
        assert!(turn(), "a migration ended the connection");
        let start = stream.len();
        drain(socket, stream);
        stream[start..].to_vec()
    };
    say(&set_state(3));
    let reply = say(&command(17, &[(1 << 20) + 8, 1 << 20].map(u32::to_ne_bytes).concat()));
    let mut state = reply.get(24..).expect("the device has a state").to_vec();
    let [low, high, length, data @ ..] = data else { return &[] };
    let (patch, rest) = data.split_at(usize::from(*length).min(data.len()));
    let place = usize::from(u16::from_le_bytes([*low, *high])) % state.len();
    state[place..].iter_mut().zip(patch).for_each(|(old, new)| *old = *new);
    let size = state.len() as u32;
    say(&set_state(4));
    say(&command(18, &[[size + 8, size].map(u32::to_ne_bytes).concat(), state].concat()));
    say(&set_state(2));
    rest
}

fn run(data: &[u8]) {
    let Some((mode, mut rest)) = data.split_first() else {
        return;
    };
    let mut function = PciFunction::new(device::Everything::default());
    // Memory space and bus master on, so that DMA can be reached by one register write.
    function.write(CONFIG_REGION, 4, &[6]);
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
    // There is one thread: a session that waited for it to read would wait for ever.
    ioctl_fionbio(&ours, true).unwrap();
    let (mut main_stream, mut twin_stream) = (Vec::new(), Vec::new());
    let mut alive = true;
    function.serve(ours, |turn| {
        let mut twin = None;
        if mode & 1 != 0 {
            send(&theirs, &version(*mode), &[]);
            assert!(turn(), "a valid VERSION was rejected");
            twin = drain(&theirs, &mut main_stream);
            assert_eq!(twin.is_some(), mode & 2 != 0);
            if mode & 8 != 0 {
                rest = migrate(&theirs, turn, &mut main_stream, rest);
            }
        }
        while let [low, high, fds, tail @ ..] = rest {
            let length = usize::from(u16::from_le_bytes([*low, *high])).min(tail.len());
            let (chunk, tail) = tail.split_at(length);
            rest = tail;
            let to = twin.as_ref().filter(|_| fds & 0x80 != 0).unwrap_or(&theirs);
            if !chunk.is_empty() {
                KINDS.with(|kinds| {
                    let fd = kinds.0[usize::from(fds >> 5) & 3].as_fd();
                    send(to, chunk, &[fd; 31][..usize::from(fds & 31)]);
                });
            }
            alive = turn();
            drain(&theirs, &mut main_stream);
            if let Some(twin) = &twin {
                drain(twin, &mut twin_stream);
            }
            if !alive {
                break;
            }
        }
    });
    check(&main_stream, alive);
    check(&twin_stream, alive);
}

fuzz_target!(|data: &[u8]| {
    let count = RUNS.get() % COUNT_EVERY == 1;
    RUNS.set(RUNS.get().wrapping_add(1));
    KINDS.with(|_| ());
    let before = if count { open_descriptors() } else { 0 };
    run(data);
    if count {
        assert_eq!(open_descriptors(), before, "descriptors leaked");
    }
});
