//! Linux's driver for the entropy device, as far as it decides whether a reader goes on: a model
//! for tests.
//!
//! This is how drivers/char/hw_random/virtio-rng.c behaves in the kernels that were tried, 6.12.107,
//! 6.12.117 and 7.3.4. It has one buffer, which is as large as the piece that the hwrng core reads
//! at once. What it counts of a completion that a reader takes in two parts is wrong: it subtracts
//! the first part twice. Most often it then throws the second part away. If the second part is
//! larger than the first, it keeps a number of bytes that are not there, makes no request, and the
//! reader waits for ever.

/// The driver and the reader of `/dev/hwrng`.
#[derive(Clone, Debug)]
pub struct LinuxDriver {
    /// Bytes of its buffer, and of what a reader takes at once.
    size: u64,
    /// `data_avail`: bytes in the buffer, as it believes.
    available: u64,
    /// `data_idx`: where the next of them is.
    index: u64,
    /// Whether its buffer is in the queue.
    requested: bool,
    /// `have_data`: whether a reader that waits may go on.
    completed: bool,
    /// What a reader still waits for; 0 without a reader.
    missing: u64,
    /// Bytes that readers got.
    delivered: u64,
}

impl LinuxDriver {
    /// A driver that has just found the device, with a buffer of that size.
    pub fn new(size: u64) -> Self {
        LinuxDriver {
            size,
            available: 0,
            index: 0,
            requested: true,
            completed: false,
            missing: 0,
            delivered: 0,
        }
    }

    /// Bytes of its buffer.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The room that it asks the device to fill, if it does.
    pub fn request(&self) -> Option<u64> {
        self.requested.then_some(self.size)
    }

    /// The device completes the request with so many bytes.
    pub fn complete(&mut self, bytes: u64) {
        assert!(self.requested && (1..=self.size).contains(&bytes), "{bytes} of {self:?}");
        self.requested = false;
        self.available = bytes;
        self.completed = true;
        self.go_on();
    }

    /// A program reads and waits; it stops reading when it has got all.
    pub fn read(&mut self) {
        if self.missing == 0 {
            self.missing = self.size;
            self.copy_available();
            self.go_on();
        }
    }

    /// A program reads without waiting.
    pub fn read_without_waiting(&mut self) {
        if self.missing == 0 {
            self.missing = self.size;
            self.copy_available();
            self.missing = 0;
        }
    }

    /// The program is killed while it waits.
    pub fn kill_reader(&mut self) {
        self.missing = 0;
    }

    /// Another device becomes the one behind `/dev/hwrng`.
    pub fn deselect(&mut self) {
        self.completed = true;
        self.go_on();
    }

    /// Whether a program waits and will do so for ever.
    pub fn hangs(&self) -> bool {
        self.missing > 0 && !self.requested && !self.completed
    }

    /// Bytes that readers have got so far.
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    fn copy_available(&mut self) {
        if self.available > 0 {
            self.copy();
        }
    }

    fn go_on(&mut self) {
        while self.missing > 0 && self.completed {
            self.completed = false;
            if self.available == 0 {
                self.missing = 0;
            } else {
                self.copy();
            }
        }
    }

    /// `copy_data()`.
    fn copy(&mut self) {
        let available = self.available.min(self.size);
        if self.index >= available {
            self.available = 0;
            return self.make_request();
        }
        let count = (available - self.index).min(self.missing);
        self.missing -= count;
        self.delivered += count;
        self.index += count;
        self.available -= count;
        if self.available == 0 {
            self.make_request();
        }
    }

    fn make_request(&mut self) {
        self.completed = false;
        self.index = 0;
        self.requested = true;
    }
}
