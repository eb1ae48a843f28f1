//! Chains as rust-vmm's queue sees them.

use mock_virtio_queue::desc::RawDescriptor;
use mock_virtio_queue::desc::split::Descriptor as OracleDescriptor;
use mock_virtio_queue::mock::MockSplitQueue;
use mock_virtio_queue::{Queue, QueueT};
use mock_vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use proptest::prelude::*;

use super::*;
use crate::test_memory::{ReadyMemory, ready};

/// Descriptors of the queue.
const SIZE: u16 = 32;
/// Where indirect tables of these tests are.
const TABLES: u64 = 0x10000;

type Memory = GuestMemoryMmap<()>;

fn memory() -> Memory {
    Memory::from_ranges(&[(GuestAddress(0), 0x40000), (GuestAddress(0x3000_0000), 0x10000)])
        .unwrap()
}

/// Reads the chain that starts at a descriptor of the table at address 0.
fn follow(memory: &Memory, head: u16) -> Result<DescriptorChain, Fault> {
    let features = Features::all().difference(Features::RING_PACKED);
    let mut table = vec![0; usize::from(SIZE) * DESCRIPTOR_SIZE];
    memory.read_slice(&mut table, GuestAddress(0)).unwrap();
    let (mut reader, mut chain) = (ChainReader::new(features, SIZE), DescriptorChain::default());
    let memory = ReadyMemory(memory);
    ready(reader.read(&memory, &table, head, &mut chain)).map(|()| chain)
}

/// What rust-vmm's queue makes of the only available chain.
fn oracle(memory: &Memory, queue: &MockSplitQueue<'_, Memory>) -> Vec<Buffer> {
    let mut queue: Queue = queue.create_queue().unwrap();
    let chain = queue.pop_descriptor_chain(memory).unwrap();
    let buffer = |descriptor: OracleDescriptor| Buffer {
        address: descriptor.addr().0,
        length: descriptor.len(),
        writable: descriptor.is_write_only(),
    };
    chain.map(buffer).collect()
}

#[test]
fn chains_of_a_mock_driver_are_followed_as_rust_vmm_does() {
    for length in 1..=SIZE {
        for indirect in [false, true] {
            let memory = memory();
            let mut queue = MockSplitQueue::new(&memory, SIZE);
            let added =
                if indirect { queue.add_indirect_chain(length) } else { queue.add_chain(length) };
            added.unwrap();
            let request = follow(&memory, 0).unwrap();
            assert_eq!(request.buffers.len(), usize::from(length));
            assert_eq!(request.buffers, oracle(&memory, &queue), "{length} {indirect}");
        }
    }
}

/// Descriptors that mean something more often than not.
fn descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let table = (0..4_u64).prop_map(|table| TABLES + 0x100 * table);
    let address = prop_oneof![table, any::<u64>()];
    // rust-vmm ends a chain silently when its bytes are more than a u32 counts.
    let length = prop_oneof![(1..12_u32).prop_map(|count| 16 * count), 0..1_u32 << 24];
    let flags = prop_oneof![
        4 => Just(3_u16),
        3 => Just(1),
        2 => Just(2),
        1 => Just(0),
        2 => Just(4),
        1 => any::<u16>(),
    ];
    (address, length, flags, prop_oneof![9 => 0..SIZE, 1 => any::<u16>()])
}

proptest! {
    /// Whatever the driver has written: a chain that is accepted is the one that rust-vmm sees,
    /// and following it ends.
    #[test]
    fn accepted_chains_are_those_of_rust_vmm(
        table in prop::collection::vec(descriptor(), usize::from(SIZE)),
        tables in prop::collection::vec(descriptor(), 64),
        head in 0..SIZE + 2,
    ) {
        let memory = memory();
        let mut queue = MockSplitQueue::new(&memory, SIZE);
        queue.add_chain(1).unwrap();
        let avail = queue.avail().ring().ref_at(0).unwrap();
        avail.store(head);
        let places = (0..).step_by(16).zip(table).chain((TABLES..).step_by(16).zip(tables));
        for (place, (address, length, flags, next)) in places {
            let descriptor =
                RawDescriptor::from(OracleDescriptor::new(address, length, flags, next));
            memory.write_obj(descriptor, GuestAddress(place)).unwrap();
        }
        match follow(&memory, head) {
            Ok(request) => {
                prop_assert_eq!(request.id, head);
                prop_assert_eq!(request.buffers, oracle(&memory, &queue));
            }
            Err(fault) => prop_assert!(!fault.to_string().is_empty()),
        }
    }
}
