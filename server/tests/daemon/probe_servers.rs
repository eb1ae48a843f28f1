//! `my-rng-server probe` with servers of others: rust-vmm's, and some that misbehave.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;
use vfio_bindings::bindings::vfio::{
    VFIO_REGION_INFO_FLAG_MMAP, VFIO_REGION_INFO_FLAG_READ, vfio_region_info,
    vfio_region_sparse_mmap_area,
};
use vfio_user::{
    DmaMapFlags, DmaUnmapFlags, IrqInfo, Server, ServerBackend, ServerRegion, SparseArea,
};

use crate::common::*;
use crate::probe::{complaint, shown};

/// A folder with the path of a socket in it.
fn socket() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    (folder, path)
}

/// What the probe says of a server that does this with its first client.
#[track_caller]
fn said_of(serve: impl FnOnce(UnixStream) + Send + 'static) -> String {
    let (_folder, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || serve(listener.accept().unwrap().0));
    let said = complaint(&path, &["--timeout-ms", "300"]);
    server.join().unwrap();
    assert!(said.contains(path.to_str().unwrap()), "{said}");
    said
}

/// Waits for a message.
fn take(stream: &mut UnixStream) -> Vec<u8> {
    let mut message = vec![0; 16];
    stream.read_exact(&mut message).unwrap();
    let size = u32_at(&message, 4) as usize;
    message.resize(size, 0);
    stream.read_exact(&mut message[16..]).unwrap();
    message
}

/// Answers the next message.
fn answer(stream: &mut UnixStream, payload: &[u8]) {
    let asked = take(stream);
    let id = u16::from_ne_bytes([asked[0], asked[1]]);
    let command = u16::from_ne_bytes([asked[2], asked[3]]);
    let head = header(id, command, 16 + payload.len() as u32, REPLY);
    stream.write_all(&[&head, payload].concat()).unwrap();
}

/// Waits until the client has gone.
fn until_it_goes(mut stream: UnixStream) {
    io::copy(&mut stream, &mut io::sink()).unwrap();
}

#[test]
fn a_path_without_a_server_is_explained() {
    let (folder, path) = socket();
    assert!(complaint(&path, &[]).contains("there is no such socket"));
    drop(UnixListener::bind(&path).unwrap());
    assert!(complaint(&path, &[]).contains("no process listens at this socket"));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(complaint(&file, &[]).contains("this is not a socket"));
    assert!(complaint(&file.join("below"), &[]).contains("this is not a socket"));
    let datagrams = folder.path().join("datagrams");
    let _socket = UnixDatagram::bind(&datagrams).unwrap();
    assert!(complaint(&datagrams, &[]).contains("a socket of another type"));
    let long = Path::new("/").join("x".repeat(120));
    assert!(complaint(&long, &[]).contains("107 bytes at most"));
}

#[test]
fn a_server_that_accepts_no_client_is_given_up() {
    let (_folder, path) = socket();
    let listener = UnixListener::bind(&path).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _waiting = UnixStream::connect(&path).unwrap();
    let said = complaint(&path, &["--timeout-ms", "300"]);
    assert!(said.contains("the server accepts no connection"), "{said}");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let said = said_of(until_it_goes);
    assert!(said.contains("VERSION: no answer for 300 ms; is another client"), "{said}");
}

#[test]
fn a_server_that_stops_answering_is_given_up_and_the_request_named() {
    let said = said_of(|mut stream| {
        answer(&mut stream, &version(0, 0, b"{}\0"));
        until_it_goes(stream);
    });
    assert!(said.contains("DEVICE_GET_INFO: no answer for 300 ms\n"), "{said}");
}

#[test]
fn a_server_that_answers_byte_by_byte_is_given_up() {
    let said = said_of(|mut stream| {
        let message = [header(0, VERSION, 60_000, REPLY), vec![0; 60_000]].concat();
        for byte in message {
            thread::sleep(Duration::from_millis(10));
            if stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    });
    assert!(said.contains("VERSION: no answer for 300 ms"), "{said}");
}

#[test]
fn a_server_that_closes_is_named_with_the_request() {
    let said = said_of(drop);
    assert!(said.contains("VERSION: the server closed the connection; is this"), "{said}");
    let said = said_of(|mut stream| {
        answer(&mut stream, &version(0, 0, b"{}\0"));
        take(&mut stream);
    });
    assert!(said.contains("DEVICE_GET_INFO: the server closed the connection\n"), "{said}");
}

#[test]
fn servers_of_other_protocols_are_found_out() {
    for greeting in [
        &b"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 3, \"minor\": 1, \"major\": 11}}}}\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
    ] {
        let said = said_of(move |mut stream| {
            // The client may have gone already.
            let _ = stream.write_all(greeting);
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        assert!(
            said.contains("VERSION: ") && said.contains("is this a vfio-user server?"),
            "{said}"
        );
    }
}

#[test]
fn answers_that_cannot_be_are_found_out() {
    for (id, size, flags, expected) in [
        (1, 20, REPLY, "answers message 1, and was sent 0"),
        (0, 15, REPLY, "announces an answer of 15 bytes"),
        (0, u32::MAX, REPLY, "announces an answer of 4294967295 bytes"),
        (0, 16, REPLY, "the answer has 0 bytes, and needs 4"),
        (0, 20, 0, "sends something else than an answer"),
    ] {
        let said = said_of(move |mut stream| {
            take(&mut stream);
            stream.write_all(&[header(id, VERSION, size, flags), vec![0; 4]].concat()).unwrap();
            let _ = io::copy(&mut stream, &mut io::sink());
        });
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn another_major_version_is_refused() {
    let said = said_of(|mut stream| answer(&mut stream, &version(7, 1, b"{}\0")));
    assert!(said.contains("it speaks version 7.1, not 0"), "{said}");
}

#[test]
fn a_device_that_is_not_pci_or_has_a_million_regions_is_refused() {
    for (info, expected) in [
        ([16, 1, 9, 5], "its device is not a PCI device (flags 0x1)"),
        ([16, 3, 1_000_000, 5], "announces 1000000 regions"),
        ([16, 3, 9, u32::MAX], "announces 4294967295 interrupt indexes"),
    ] {
        let said = said_of(move |mut stream| {
            answer(&mut stream, &version(0, 0, b"{}\0"));
            answer(&mut stream, &info.iter().fold(Bytes::new(), |bytes, word| bytes.u32(*word)).0);
        });
        assert!(said.contains(expected), "{said}");
    }
}

/// A device in rust-vmm's server: what is read is the low byte of the offset, but for configuration
/// space.
struct Offsets {
    config: [u8; 256],
}

impl ServerBackend for Offsets {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> io::Result<()> {
        if region == 2 && offset >= 8 {
            return Err(io::Error::other("there is nothing"));
        }
        for (place, byte) in (offset..).zip(data) {
            *byte = if region == CONFIG { self.config[place as usize] } else { place as u8 };
        }
        Ok(())
    }

    fn region_write(&mut self, _: u32, _: u64, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn dma_map(
        &mut self,
        _: DmaMapFlags,
        _: u64,
        _: u64,
        _: u64,
        _: Option<File>,
    ) -> io::Result<()> {
        Ok(())
    }

    fn dma_unmap(&mut self, _: DmaUnmapFlags, _: u64, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn reset(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn set_irqs(&mut self, _: u32, _: u32, _: u32, _: u32, _: Vec<File>) -> io::Result<()> {
        Ok(())
    }
}

/// A region of rust-vmm's server, with mappable parts.
fn region(index: u32, size: u64, areas: &[(u64, u64)]) -> ServerRegion {
    let mut flags = 0;
    if size != 0 {
        flags |= VFIO_REGION_INFO_FLAG_READ;
    }
    if !areas.is_empty() {
        flags |= VFIO_REGION_INFO_FLAG_MMAP;
    }
    let area = |&(offset, size)| SparseArea { area: vfio_region_sparse_mmap_area { offset, size } };
    ServerRegion {
        region_info: vfio_region_info { argsz: 32, flags, index, size, ..Default::default() },
        sparse_areas: areas.iter().map(area).collect(),
        mmap_fd: None,
    }
}

/// What the probe shows of it.
fn shown_of_offsets(arguments: &[&str]) -> String {
    with_offsets([0; 256], |path| shown(path, arguments))
}

/// Does something with its socket.
fn with_offsets(config: [u8; 256], work: impl FnOnce(&Path) -> String) -> String {
    let (_folder, path) = socket();
    let regions = (0..8)
        .map(|index| match index {
            1 => region(1, 0x8000, &[(0, 0x1000), (0x4000, 0x2000)]),
            2 => region(2, 24, &[]),
            CONFIG => region(CONFIG, 256, &[]),
            absent => region(absent, 0, &[]),
        })
        .collect();
    let irq = |index| IrqInfo { index, flags: 0, count: 1 };
    let server = Server::new(&path, false, vec![irq(INTX), irq(MSI)], regions).unwrap();
    let serving = thread::spawn(move || server.run(&mut Offsets { config }).unwrap());
    let text = work(&path);
    serving.join().unwrap();
    text
}

#[test]
fn mappable_parts_and_few_interrupts_of_rust_vmms_server_are_described() {
    let expected = "\
        0000:0000 (rev 00), class 000000\n\
        \tSubsystem: 0000:0000\n\
        \tBAR 1: Memory (32-bit, non-prefetchable) [size=32K] [read only]\n\
        \t\tMappable: 00000000-00000fff, 00004000-00005fff\n\
        \tBAR 2: Memory (32-bit, non-prefetchable) [size=24] [read only]\n\
        \tConfiguration space: [size=256] [read only]\n\
        \tCapabilities: none\n\
        \tInterrupts: INTx 1, MSI 1\n\
        \tReset: no\n";
    assert_eq!(shown_of_offsets(&[]), expected);
}

#[test]
fn addresses_that_a_client_assigned_are_shown() {
    let mut config = [0; 256];
    config[0x14..0x18].copy_from_slice(&0xfebf_1000_u32.to_le_bytes());
    config[0x18..0x20].copy_from_slice(&0x1c0_0000_0004_u64.to_le_bytes());
    let text = with_offsets(config, |path| shown(path, &[]));
    assert!(text.contains("BAR 1: Memory at febf1000 (32-bit, "), "{text}");
    assert!(text.contains("BAR 2: Memory at 1c000000000 (64-bit, "), "{text}");
}

#[test]
fn registers_of_rust_vmms_server_are_little_endian() {
    assert_eq!(shown_of_offsets(&["read", "1", "0x11", "8"]), "0x1817161514131211\n");
}

#[test]
fn a_refused_read_is_named_with_its_place() {
    let said = with_offsets([0; 256], |path| complaint(path, &["read", "2", "0x8", "4"]));
    let expected = "REGION_READ of BAR 2, offset 0x8, width 4: the server refuses: ";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn registers_that_a_server_refuses_to_read_are_question_marks_in_a_dump() {
    let expected = "\
        00000000: 03020100 07060504 ???????? ????????\n\
        00000010: ???????? ????????\n\
        00000018\n";
    assert_eq!(shown_of_offsets(&["dump", "2"]), expected);
}
