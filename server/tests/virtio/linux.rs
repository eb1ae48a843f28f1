//! Requests as Linux makes them, of a source that gives odd pieces: its driver loses count of a
//! completion that has more than a reader still misses, whatever the queue.

use crate::driver::{BUFFERS, Driver, WRITE, byte_at};
use crate::legacy;
use crate::packed::{Packed, Slot};

/// Bytes of the driver's buffer, and of what a reader takes.
const BUFFER: u32 = 64;
/// Sizes of pieces: of an entropy daemon, of a pipe that is written now and then, of slow hardware.
const PIECES: [u64; 7] = [40, 63, 33, 32, 7, 1, 100];

/// A driver that makes one request at a time.
trait Linux {
    fn driver(&mut self) -> &mut Driver;
    /// Makes a request.
    fn ask(&mut self);
    /// With how many bytes it was completed, if it was.
    fn completion(&mut self) -> Option<u32>;
}

impl Linux for Driver {
    fn driver(&mut self) -> &mut Driver {
        self
    }

    fn ask(&mut self) {
        Driver::ask(self, BUFFER);
    }

    fn completion(&mut self) -> Option<u32> {
        self.answer().map(|(_, bytes)| bytes)
    }
}

struct Legacy(Driver);

impl Linux for Legacy {
    fn driver(&mut self) -> &mut Driver {
        &mut self.0
    }

    fn ask(&mut self) {
        self.0.describe(0, BUFFERS, BUFFER, WRITE, 0);
        self.0.offer(0);
        self.0.bench.write(legacy::IO, legacy::NOTIFY, 2, 0);
    }

    fn completion(&mut self) -> Option<u32> {
        self.0.completion()
    }
}

struct OfPackedQueue(Packed, Option<Slot>);

impl Linux for OfPackedQueue {
    fn driver(&mut self) -> &mut Driver {
        &mut self.0.driver
    }

    fn ask(&mut self) {
        self.1 = Some(self.0.request(&[(BUFFERS, BUFFER)], 0));
    }

    fn completion(&mut self) -> Option<u32> {
        self.1.and_then(|slot| self.0.answer(slot)).map(|(_, bytes)| bytes)
    }
}

fn assert_ends_where_readers_do(mut linux: impl Linux) {
    linux.driver().supply.leave(0);
    let mut got = 0;
    for piece in PIECES {
        let end = got + 20 * BUFFER;
        while got < end {
            linux.ask();
            let bytes = linux.completion().unwrap_or_else(|| {
                linux.driver().supply.leave(piece);
                assert!(linux.driver().wake());
                linux.completion().expect("the source has bytes now")
            });
            let missing = BUFFER - got % BUFFER;
            assert!(bytes <= missing, "{bytes} of {missing} with pieces of {piece}");
            assert!(bytes == BUFFER || bytes <= BUFFER / 2, "{bytes} with pieces of {piece}");
            let expected: Vec<u8> = (got..got + bytes).map(|at| byte_at(at.into())).collect();
            assert_eq!(linux.driver().memory(BUFFERS, bytes as usize), expected);
            got += bytes;
        }
        assert_eq!(got, end, "pieces of {piece}");
    }
}

#[test]
fn odd_pieces_end_where_linuxs_readers_do_in_a_split_queue() {
    assert_ends_where_readers_do(Driver::ready());
    assert_ends_where_readers_do(Driver::ready_by_message());
}

#[test]
fn odd_pieces_end_where_linuxs_readers_do_in_a_packed_queue() {
    assert_ends_where_readers_do(OfPackedQueue(Packed::ready(), None));
}

#[test]
fn odd_pieces_end_where_linuxs_readers_do_in_a_legacy_queue() {
    assert_ends_where_readers_do(Legacy(legacy::ready()));
}
