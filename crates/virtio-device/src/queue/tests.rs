//! Queues with the mock driver of rust-vmm.

use mock_virtio_queue::mock::MockSplitQueue;
use mock_vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};
use proptest::prelude::*;

use super::super::chain::Buffer;
use super::*;
use crate::test_memory::{ReadyMemory, ready};

/// Descriptors of the queue. The mock driver's rings overlap if it uses more than half of them.
const SIZE: u16 = 64;

fn guest_memory() -> GuestMemoryMmap<()> {
    let ranges = [(GuestAddress(0), 0x10000), (GuestAddress(0x3000_0000), 0x10000)];
    GuestMemoryMmap::from_ranges(&ranges).unwrap()
}

fn addresses(mock: &MockSplitQueue<'_, GuestMemoryMmap<()>>) -> RingAddresses {
    RingAddresses {
        size: SIZE,
        descriptors: mock.desc_table_addr().0,
        driver: mock.avail_addr().0,
        device: mock.used_addr().0,
    }
}

#[test]
fn bytes_are_divided_among_the_buffers_for_writing() {
    let buffer = |address, length, writable| Buffer { address, length, writable };
    let buffers = vec![buffer(1, 9, false), buffer(2, 3, true), buffer(3, 0, true)];
    let buffers = [buffers, vec![buffer(4, 4, true), buffer(5, 1, true)]].concat();
    let mut queue = Virtqueue::new(RingAddresses::default(), Features::empty());
    queue.chain.buffers = buffers;
    let mut divided = |count: u8| {
        let mut data = (0..count).collect();
        queue.place(&mut data);
        let places = queue.segments.iter().map(|part| (part.address, part.length));
        (places.collect::<Vec<_>>(), data.len())
    };
    assert_eq!(divided(0), (vec![(2, 0), (3, 0), (4, 0), (5, 0)], 0));
    assert_eq!(divided(5), (vec![(2, 3), (3, 0), (4, 2), (5, 0)], 5));
    assert_eq!(divided(200), (vec![(2, 3), (3, 0), (4, 4), (5, 1)], 8));
}

proptest! {
    /// A mock driver of rust-vmm makes one chain after the other available, and finds the
    /// completions in its used ring. (Its buffers are for reading: the completions have no bytes.)
    #[test]
    fn a_mock_driver_finds_its_completions(
        chains in prop::collection::vec((1..6_u16, any::<bool>()), 1..20)
    ) {
        let driver = guest_memory();
        let memory = ReadyMemory(&driver);
        let mut mock = MockSplitQueue::new(&driver, SIZE);
        let mut queue = Virtqueue::new(addresses(&mock), Features::INDIRECT_DESC);
        ready(queue.start(&memory)).unwrap();
        prop_assert_eq!(ready(queue.next(&memory)), Ok(false));
        let mut heads = Vec::new();
        for (length, indirect) in &chains {
            if *indirect {
                mock.add_indirect_chain(*length).unwrap();
            } else {
                mock.add_chain(*length).unwrap();
            }
            heads.push(mock.avail().ring().ref_at(heads.len()).unwrap().load());
            prop_assert_eq!(ready(queue.next(&memory)), Ok(true));
            prop_assert_eq!(Some(&queue.chain().id), heads.last());
            prop_assert_eq!(queue.chain().buffers.len(), usize::from(*length));
            prop_assert_eq!(ready(queue.complete(&memory, &mut Vec::new())), Ok(false));
            prop_assert!(queue.take_interrupt() && !queue.take_interrupt());
        }
        prop_assert_eq!(ready(queue.next(&memory)), Ok(false));
        prop_assert!(!queue.take_interrupt());
        prop_assert_eq!(usize::from(mock.used().idx().load()), chains.len());
        for (position, head) in heads.iter().enumerate() {
            let element = mock.used().ring().ref_at(position).unwrap().load();
            prop_assert_eq!((element.id(), element.len()), (u32::from(*head), 0));
        }
    }
}

#[test]
fn an_interrupt_is_wanted_or_not_as_the_driver_says_after_the_completion() {
    let driver = guest_memory();
    let memory = ReadyMemory(&driver);
    let mut mock = MockSplitQueue::new(&driver, SIZE);
    let mut queue = Virtqueue::new(addresses(&mock), Features::empty());
    let flags = mock.avail_addr();
    for (at_the_look, at_the_completion) in [(1_u16, 0_u16), (0, 1)] {
        driver.write_obj(at_the_look, flags).unwrap();
        mock.add_chain(1).unwrap();
        assert_eq!(ready(queue.next(&memory)), Ok(true));
        driver.write_obj(at_the_completion, flags).unwrap();
        assert_eq!(ready(queue.complete(&memory, &mut Vec::new())), Ok(false));
        assert_eq!(queue.take_interrupt(), at_the_completion == 0);
    }
}

#[test]
fn a_completion_finds_the_next_chain() {
    let driver = guest_memory();
    let memory = ReadyMemory(&driver);
    let mut mock = MockSplitQueue::new(&driver, SIZE);
    let mut queue = Virtqueue::new(addresses(&mock), Features::EVENT_IDX);
    mock.add_chain(1).unwrap();
    assert_eq!(ready(queue.next(&memory)), Ok(true));
    mock.add_chain(1).unwrap();
    assert_eq!(ready(queue.complete(&memory, &mut Vec::new())), Ok(true));
    assert_eq!(ready(queue.next(&memory)), Ok(true));
    assert_eq!(ready(queue.complete(&memory, &mut Vec::new())), Ok(false));
}

#[test]
fn a_queue_that_goes_on_leaves_the_completions_before_as_they_are() {
    let driver = guest_memory();
    let memory = ReadyMemory(&driver);
    let mut mock = MockSplitQueue::new(&driver, SIZE);
    let (entries, index) = (mock.used_addr().0 + 4, mock.used_addr().0 + 2);
    let before: Vec<u8> = (0..8 * SIZE).map(|byte| byte.to_le_bytes()[0]).collect();
    driver.write_slice(&before, GuestAddress(entries)).unwrap();
    for _ in 0..4 {
        mock.add_chain(1).unwrap();
    }
    let position = QueuePosition { used: 3, ..QueuePosition::default() };
    let mut queue = Virtqueue::at(addresses(&mock), Features::EVENT_IDX, position);
    ready(queue.start(&memory)).unwrap();
    assert_eq!(ready(queue.next(&memory)), Ok(true));
    assert_eq!(ready(queue.complete(&memory, &mut Vec::new())), Ok(false));
    let mut after = vec![0; before.len()];
    driver.read_slice(&mut after, GuestAddress(entries)).unwrap();
    assert!(after[..24] == before[..24] && after[32..] == before[32..], "all but one entry");
    assert_eq!(driver.read_obj::<u16>(GuestAddress(index)).unwrap(), 4);
}
