//! A source goes on where it was: no byte of a file or a pipe is left out, and none comes twice.

use std::fs::{self, File};
use std::io::Write;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::exchanged::Exchanged;
use crate::rng_guest::Guest;

#[test]
fn a_file_is_read_on_after_an_exchange() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes");
    let bytes: Vec<u8> = (0..=255).collect();
    fs::write(&path, &bytes).unwrap();
    let mut server = Exchanged::start(&["--device", "virtio-rng", "-f", path.to_str().unwrap()]);
    let mut guest = Guest::at(&server.daemon().path());
    for expected in bytes.chunks(50).take(4) {
        guest.ask(50);
        assert_eq!(guest.answer(), expected);
        server.exchange();
    }
}

#[test]
fn bytes_that_were_read_from_a_pipe_and_not_given_out_are_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let options = ["--device", "virtio-rng", "-m", "10", "-p", "500", "-f", path.to_str().unwrap()];
    let mut server = Exchanged::start(&options);
    let mut guest = Guest::at(&server.daemon().path());
    let mut pipe = File::options().write(true).open(&path).unwrap();
    pipe.write_all(b"0123456789abcdefghij").unwrap();
    // The limit lets a part of each piece through.
    let mut answers = Vec::new();
    while answers.len() < 20 {
        guest.ask(7);
        answers.extend(guest.answer());
        server.exchange();
    }
    assert_eq!(answers, b"0123456789abcdefghij");
}
