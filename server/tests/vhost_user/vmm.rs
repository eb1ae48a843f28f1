//! A virtual machine monitor with a guest's driver: memory, a ring, and two eventfds.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::server::TEST_TIMEOUT;

/// Bytes of guest memory, and where the monitor has it itself.
pub const MEMORY: u64 = 1 << 20;
const ADDRESS: u64 = 0x7000_0000;

/// Descriptors of the ring.
pub const SIZE: u16 = 16;
/// Where the ring's parts are in guest memory, and buffers.
const TABLE: u64 = 0x0000;
pub const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
pub const BUFFER: u64 = 0x1_0000;

/// Flags of a descriptor.
pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

/// How long to wait for what must not come.
const A_MOMENT: Duration = Duration::from_millis(50);

/// Bit numbers of features.
pub type Features = &'static [u32];

/// Another hand that writes to the same ring.
pub struct Asker(File, EventFd);

impl Asker {
    /// Makes as many requests as there is room for, whatever they are.
    pub fn fill_ring(&self) {
        let mut index = [0; 2];
        self.0.read_exact_at(&mut index, USED + 2).unwrap();
        let available = u16::from_le_bytes(index).wrapping_add(SIZE);
        self.0.write_all_at(&available.to_le_bytes(), AVAILABLE + 2).unwrap();
        self.1.write(1).unwrap();
    }
}

/// What a VMM of today takes of the protocol.
const PROTOCOL_FEATURES: VhostUserProtocolFeatures =
    VhostUserProtocolFeatures::REPLY_ACK.union(VhostUserProtocolFeatures::CONFIGURE_MEM_SLOTS);

pub struct Vmm {
    pub frontend: Frontend,
    pub memory: File,
    pub kick: EventFd,
    pub call: EventFd,
    /// What the driver has made available, and what it has seen of the answers.
    available: u16,
    used: u16,
}

impl Vmm {
    /// Connects, agrees on these features beside those of every driver, and starts the queue.
    pub fn start(path: &Path, features: Features) -> Self {
        let mut vmm = Vmm::connect(path, features);
        vmm.share_memory();
        vmm.start_queue(0);
        vmm
    }

    /// Only agrees on features.
    pub fn connect(path: &Path, features: Features) -> Self {
        let memory = memfd_create("guest", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&memory, MEMORY).unwrap();
        let mut frontend = Frontend::connect(path, 1).unwrap();
        frontend.set_owner().unwrap();
        let offered = frontend.get_features().unwrap();
        let protocol = VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        let bits = [VIRTIO_F_VERSION_1].iter().chain(features).map(|bit| 1_u64 << bit);
        let wanted = bits.fold(protocol, |all, bit| all | bit);
        assert_eq!(offered & wanted, wanted, "offered: {offered:#x}");
        let of_protocol = frontend.get_protocol_features().unwrap();
        assert!(of_protocol.contains(PROTOCOL_FEATURES));
        frontend.set_protocol_features(PROTOCOL_FEATURES).unwrap();
        frontend.set_features(wanted).unwrap();
        // From now on each message is answered, so that its effect is there.
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        Vmm {
            frontend,
            memory: memory.into(),
            kick: EventFd::new(0).unwrap(),
            call: EventFd::new(EFD_NONBLOCK).unwrap(),
            available: 0,
            used: 0,
        }
    }

    pub fn share_memory(&self) {
        self.share(self.memory.as_raw_fd(), MEMORY).unwrap();
    }

    /// Says that the guest's memory is in this file.
    pub fn share(&self, file: RawFd, size: u64) -> vhost::Result<()> {
        let region = VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: size,
            userspace_addr: ADDRESS,
            mmap_offset: 0,
            mmap_handle: file,
        };
        self.frontend.set_mem_table(&[region]).map(drop)
    }

    /// Says that it is in so many slots, one after the other, as that of a guest with many DIMMs.
    pub fn share_in_slots(&mut self, slots: u64) {
        assert!(self.frontend.get_max_mem_slots().unwrap() >= slots);
        let size = MEMORY / slots;
        for start in (0..slots).map(|slot| slot * size) {
            let region = VhostUserMemoryRegionInfo {
                guest_phys_addr: start,
                memory_size: size,
                userspace_addr: ADDRESS + start,
                mmap_offset: start,
                mmap_handle: self.memory.as_raw_fd(),
            };
            self.frontend.add_mem_region(&region).unwrap();
        }
    }

    /// Starts the queue, at that position of the available ring.
    pub fn start_queue(&mut self, base: u16) {
        self.start_queue_at(base, AVAILABLE).unwrap();
    }

    /// The same with the available ring at that address.
    pub fn start_queue_at(&mut self, base: u16, available: u64) -> vhost::Result<()> {
        self.start_queue_of(SIZE, base, available)
    }

    /// The same with so many descriptors.
    pub fn start_queue_of(&mut self, size: u16, base: u16, available: u64) -> vhost::Result<()> {
        self.frontend.set_vring_num(0, size)?;
        self.frontend.set_vring_base(0, base)?;
        let ring = VringConfigData {
            queue_max_size: size,
            queue_size: size,
            flags: 0,
            desc_table_addr: ADDRESS + TABLE,
            used_ring_addr: ADDRESS + USED,
            avail_ring_addr: ADDRESS + available,
            log_addr: None,
        };
        self.frontend.set_vring_addr(0, &ring)?;
        self.frontend.set_vring_call(0, &self.call)?;
        self.frontend.set_vring_kick(0, &self.kick)?;
        self.frontend.set_vring_enable(0, true)
    }

    /// Stops the queue, and returns the position of the first request without an answer.
    pub fn stop_queue(&self) -> u16 {
        self.frontend.get_vring_base(0).unwrap() as u16
    }

    pub fn write(&self, address: u64, bytes: &[u8]) {
        self.memory.write_all_at(bytes, address).unwrap();
    }

    pub fn read(&self, address: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.memory.read_exact_at(&mut bytes, address).unwrap();
        bytes
    }

    fn number(&self, address: u64) -> u16 {
        let bytes = self.read(address, 2);
        u16::from_le_bytes([bytes[0], bytes[1]])
    }

    /// Writes a descriptor into the ring's table.
    pub fn descriptor(&self, index: u16, address: u64, length: u32, flags: u16, next: u16) {
        self.descriptor_at(TABLE + 16 * u64::from(index), address, length, flags, next);
    }

    /// Writes one anywhere.
    pub fn descriptor_at(&self, place: u64, address: u64, length: u32, flags: u16, next: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&flags.to_le_bytes());
        bytes[14..].copy_from_slice(&next.to_le_bytes());
        self.write(place, &bytes);
    }

    /// Makes a chain available, without a kick.
    pub fn offer(&mut self, head: u16) {
        self.offer_again_and_again(head, 1);
    }

    /// Makes a chain available so many times, all of them in one moment: the device may look at
    /// the ring at any time, not only when it is kicked.
    pub fn offer_again_and_again(&mut self, head: u16, times: u16) {
        for _ in 0..times {
            let place = u64::from(self.available % SIZE);
            self.write(AVAILABLE + 4 + 2 * place, &head.to_le_bytes());
            self.available = self.available.wrapping_add(1);
        }
        self.write(AVAILABLE + 2, &self.available.to_le_bytes());
    }

    /// A request of one buffer of so many bytes, at [`BUFFER`].
    pub fn ask(&mut self, length: u32) {
        self.descriptor(0, BUFFER, length, WRITE, 0);
        self.offer(0);
        self.kick();
    }

    pub fn asker(&self) -> Asker {
        Asker(self.memory.try_clone().unwrap(), self.kick.try_clone().unwrap())
    }

    pub fn kick(&self) {
        self.kick.write(1).unwrap();
    }

    /// The `used_event` field: the driver wants a call when that many answers are there.
    pub fn want_call_after(&self, answers: u16) {
        let event = answers.wrapping_sub(1);
        self.write(AVAILABLE + 4 + 2 * u64::from(SIZE), &event.to_le_bytes());
    }

    /// The `avail_event` field: when the device wants the next kick.
    pub fn kick_wanted_after(&self) -> u16 {
        self.number(USED + 4 + 8 * u64::from(SIZE))
    }

    /// How many answers there are in all.
    pub fn answers(&self) -> u16 {
        self.number(USED + 2)
    }

    /// The next answer: which chain, and how many bytes.
    pub fn answer(&mut self) -> (u32, u32) {
        let begun = Instant::now();
        while self.answers() == self.used {
            assert!(begun.elapsed() < TEST_TIMEOUT, "no answer");
            sleep(Duration::from_micros(200));
        }
        let element = USED + 4 + 8 * u64::from(self.used % SIZE);
        self.used = self.used.wrapping_add(1);
        let bytes = self.read(element, 8);
        let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        (number(0), number(4))
    }

    /// Asks, and returns the bytes.
    pub fn get(&mut self, length: u32) -> Vec<u8> {
        self.ask(length);
        let (_, written) = self.answer();
        self.read(BUFFER, written as usize)
    }

    /// Whether the server has closed the connection.
    pub fn frontend_is_closed(&self) -> bool {
        self.frontend.get_features().is_err()
    }

    /// Checks that no answer comes.
    pub fn assert_waits(&self) {
        sleep(A_MOMENT);
        assert_eq!(self.answers(), self.used, "an answer came");
    }

    /// Whether the device calls within a moment, or has done.
    pub fn called(&self) -> bool {
        let begun = Instant::now();
        loop {
            match self.call.read() {
                Ok(_) => return true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if begun.elapsed() > A_MOMENT {
                return false;
            }
            sleep(Duration::from_millis(1));
        }
    }
}
