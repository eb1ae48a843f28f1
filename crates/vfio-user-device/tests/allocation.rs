//! A register read allocates nothing.
// Tests count in small numbers.
#![allow(clippy::cast_possible_truncation)]

mod common;
#[path = "common/device.rs"]
// Only a part of it is used here.
#[allow(dead_code)]
mod device;

use std::alloc::{GlobalAlloc, Layout, System};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use vfio_user_device::server::{Options, Server};

use common::{Client, REGION_READ, access, message};

/// Counts what every thread of this process asks for.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Reads so many times, without an allocation of its own.
fn read(client: &Client, request: &[u8], times: usize) {
    let mut reply = [0; 64];
    for _ in 0..times {
        assert_eq!(send(client.socket(), request, SendFlags::empty()), Ok(request.len()));
        common::wait_readable(client.socket(), "a reply");
        let received = recv(client.socket(), &mut reply, RecvFlags::empty());
        assert_eq!(received.map(|(bytes, _)| bytes), Ok(36));
    }
}

/// The only test here: others would allocate beside it.
#[test]
fn a_thousand_register_reads_allocate_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let device = device::Everything::default();
    let server = Server::bind(&path, device, Options::default()).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || server.run(stopped.as_fd()));
    let client = Client::negotiated(&path);
    let request = message(1, REGION_READ, &access(0, 0, 4));
    read(&client, &request, 10);

    let before = ALLOCATIONS.load(Ordering::Relaxed);
    read(&client, &request, 1000);
    let after = ALLOCATIONS.load(Ordering::Relaxed);

    assert_eq!(after - before, 0);
    drop((client, stop));
    thread.join().unwrap().unwrap();
}
