//! A request in mapped memory allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::mem;

use vfio_user_device::{Access, Bus, Device, DeviceConfig, TestBench};
use virtio_device::{
    DescriptorChain, DeviceType, Fault, Features, Interface, Status, Transport, VirtioDevice,
    serve_queue,
};

/// Counts what each thread asks for. The thread of the test harness may allocate at any time.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A device that fills every chain with the same memory.
struct Filler {
    transport: Transport,
    bytes: Vec<u8>,
}

impl Device for Filler {
    fn config(&self) -> DeviceConfig {
        self.transport.config()
    }

    fn read(&mut self, bus: &mut Bus, access: Access) -> u64 {
        self.transport.read(bus, access)
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        self.transport.write(bus, access, value);
    }
}

impl VirtioDevice for Filler {
    fn transport(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn fill(&mut self, _bus: &mut Bus, chain: &DescriptorChain) -> Result<Option<Vec<u8>>, Fault> {
        let mut bytes = mem::take(&mut self.bytes);
        bytes.resize(usize::try_from(chain.writable_len()).unwrap(), 7);
        Ok(Some(bytes))
    }

    fn reuse(&mut self, buffer: Vec<u8>) {
        self.bytes = buffer;
    }
}

/// Where the device has its registers, and the driver its rings.
const BAR: u32 = 4;
const STATUS: u64 = 0x14;
const NOTIFY: u64 = 0x3000;
const RINGS: [(u64, u64); 3] = [(0x20, 0x1000), (0x28, 0x2000), (0x30, 0x3000)];
const INDEX: usize = 0x2002;
const USED_INDEX: usize = 0x3002;

/// A driver has enabled a queue whose entries all name one chain of 64 bytes.
fn bench(features: Features) -> TestBench {
    let transport = Transport::new(DeviceType::Entropy, Interface::Modern, serve_queue::<Filler>);
    let device = Filler { transport, bytes: Vec::new() };
    let mut bench = TestBench::new(device).unwrap();
    bench = bench.with_memory(0x5000).unwrap().with_msix().unwrap();
    assert!(bench.write_memory(0x1000, &0x4000_u64.to_le_bytes()));
    assert!(bench.write_memory(0x1008, &64_u32.to_le_bytes()));
    assert!(bench.write_memory(0x100c, &2_u32.to_le_bytes()));
    let features = (features | Features::VERSION_1).bits();
    for half in [0, 1] {
        bench.write(BAR, 0x08, 4, half);
        bench.write(BAR, 0x0c, 4, features >> (32 * half) & 0xffff_ffff);
    }
    let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK;
    bench.write(BAR, STATUS, 1, status.bits().into());
    bench.write(BAR, 0x1a, 2, 1);
    RINGS.iter().for_each(|(register, address)| bench.write(BAR, *register, 4, *address));
    bench.write(BAR, 0x1c, 2, 1);
    bench.write(BAR, STATUS, 1, (status | Status::DRIVER_OK).bits().into());
    bench
}

#[test]
fn a_request_in_mapped_memory_allocates_nothing() {
    for features in [Features::empty(), Features::EVENT_IDX] {
        let mut bench = bench(features);
        let mut before = 0;
        for request in 1..=200_u16 {
            // The first ones make room for the others.
            if request == 100 {
                before = ALLOCATIONS.get();
            }
            assert!(bench.write_memory(INDEX, &request.to_le_bytes()));
            bench.write(BAR, NOTIFY, 2, 0);
        }
        let allocations = ALLOCATIONS.get() - before;
        assert_eq!(bench.read_memory(USED_INDEX, 2), 200_u16.to_le_bytes(), "all are completed");
        assert_eq!(allocations, 0, "{features:?}");
    }
}
