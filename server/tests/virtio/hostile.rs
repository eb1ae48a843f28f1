//! Drivers that break the rules. Whatever they do, the device touches no memory that is not theirs,
//! says that it needs a reset (or does what the specification allows), and works after one.

use std::time::{Duration, Instant};

use proptest::prelude::RngCore;
use proptest::test_runner::{RngAlgorithm, TestRng};
use virtio_device::{Features, Status};

use crate::driver::{
    BUFFERS, CONFIG, Driver, INDIRECT, MEMORY, NEXT, NOTIFY, PLACE, Place, QUEUE_ENABLE, UNTOUCHED,
    WRITE,
};

/// An indirect table of these tests.
const TABLE: u64 = 0x5000;

/// Lets a driver break a rule in every way that its device can reach memory. Afterwards the device
/// has to need a reset and say so, has to have written nothing, and to work again.
#[track_caller]
fn is_a_fault(break_rule: impl Fn(&mut Driver)) {
    for mut driver in [Driver::ready(), Driver::ready_by_message()] {
        break_rule(&mut driver);
        assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET), "{:?}", driver.status());
        assert!(driver.bench.take_interrupt(CONFIG), "the driver is told");
        assert_eq!(driver.answer(), None);
        let buffers = driver.memory(BUFFERS, (MEMORY - BUFFERS) as usize);
        assert!(buffers.iter().all(|byte| *byte == UNTOUCHED), "nothing is written");
        driver.notify();
        assert!(!driver.bench.take_interrupt(CONFIG), "nothing more happens");
        driver.assert_works();
    }
}

#[test]
fn descriptor_loops() {
    is_a_fault(|driver| {
        driver.describe(0, BUFFERS, 8, WRITE | NEXT, 0);
        driver.request(0);
    });
    is_a_fault(|driver| {
        driver.describe(3, BUFFERS, 8, WRITE | NEXT, 7);
        driver.describe(7, BUFFERS, 8, WRITE | NEXT, 3);
        driver.request(3);
    });
    is_a_fault(|driver| {
        driver.describe_at(TABLE, BUFFERS, 8, WRITE | NEXT, 1);
        driver.describe_at(TABLE + 16, BUFFERS, 8, WRITE | NEXT, 0);
        driver.describe(0, TABLE, 32, INDIRECT, 0);
        driver.request(0);
    });
}

#[test]
fn chains_longer_than_the_queue() {
    is_a_fault(|driver| {
        // Sixteen in a table, and one before it.
        for index in 0..16 {
            let flags = if index < 15 { WRITE | NEXT } else { WRITE };
            driver.describe_at(TABLE + 16 * u64::from(index), BUFFERS, 1, flags, index + 1);
        }
        driver.describe(0, BUFFERS, 1, WRITE | NEXT, 1);
        driver.describe(1, TABLE, 16 * 16, INDIRECT, 0);
        driver.request(0);
    });
}

#[test]
fn indexes_past_the_queue() {
    is_a_fault(|driver| driver.request(16));
    is_a_fault(|driver| driver.request(0xffff));
    is_a_fault(|driver| {
        driver.describe(0, BUFFERS, 8, WRITE | NEXT, 16);
        driver.request(0);
    });
    is_a_fault(|driver| {
        driver.describe_at(TABLE, BUFFERS, 8, WRITE | NEXT, 1);
        driver.describe(0, TABLE, 16, INDIRECT, 0);
        driver.request(0);
    });
}

#[test]
fn jumps_of_the_available_index() {
    for index in [17, 0x8000, 0xffff] {
        is_a_fault(|driver| {
            // What the ring's entries name would do.
            driver.describe(0, BUFFERS, 8, WRITE, 0);
            driver.set_available_index(index);
            driver.notify();
        });
    }
}

#[test]
fn buffers_in_memory_that_is_not_there() {
    for address in [MEMORY, MEMORY - 4, u64::MAX - 3, 1 << 63] {
        is_a_fault(|driver| {
            driver.describe(0, address, 8, WRITE, 0);
            // The start of a write that fails half-way may be written.
            driver.request(0);
            driver.bench.write_memory((MEMORY - 4) as usize, &[UNTOUCHED; 4]);
        });
    }
    is_a_fault(|driver| {
        driver.describe(0, u64::MAX - 3, u32::MAX, WRITE, 0);
        driver.request(0);
    });
}

#[test]
fn an_answer_is_not_published_when_one_of_its_buffers_is_missing() {
    is_a_fault(|driver| {
        driver.describe(0, MEMORY, 8, WRITE | NEXT, 1);
        driver.describe(1, BUFFERS, 8, WRITE, 0);
        driver.request(0);
    });
}

#[test]
fn rings_in_memory_that_is_not_there() {
    let moved: [fn(&mut Place); 6] = [
        |place| place.descriptors = MEMORY,
        |place| place.available = MEMORY,
        |place| place.used = MEMORY,
        |place| place.descriptors = u64::MAX - 15,
        |place| place.available = u64::MAX - 1,
        |place| place.used = u64::MAX - 3,
    ];
    for place in moved {
        let mut driver = Driver::ready();
        place(&mut driver.place);
        driver.start(Features::VERSION_1);
        driver.bench.take_interrupt(CONFIG);
        driver.ask(8);
        assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET), "{:?}", driver.place);
        driver.assert_works();
    }
}

#[test]
fn half_mapped_and_read_only_memory() {
    // The first pages hold the queue. Then there is a gap, and then memory for reading only.
    let remap = |driver: &mut Driver| {
        assert!(driver.bench.unmap_memory(0, MEMORY));
        driver.bench.map_memory(0, BUFFERS + 0x1000, true).unwrap();
        driver.bench.map_memory(BUFFERS + 0x2000, 0x1000, false).unwrap();
    };
    for (address, written) in [
        (BUFFERS + 0x1000 - 4, 4),
        (BUFFERS + 0x1000, 0),
        (BUFFERS + 0x2000, 0),
        (BUFFERS + 0x2000 - 4, 0),
    ] {
        let mut driver = Driver::ready();
        remap(&mut driver);
        driver.describe(0, address, 64, WRITE, 0);
        driver.request(0);
        assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET), "{address:#x}");
        assert_eq!(driver.answer(), None);
        let after = driver.memory(address + written, 64);
        assert!(after.iter().all(|byte| *byte == UNTOUCHED), "{address:#x}");
        driver.assert_works();
    }
    // A used ring that the device may not write.
    let mut driver = Driver::ready();
    remap(&mut driver);
    driver.place.used = BUFFERS + 0x2000;
    driver.start(Features::VERSION_1);
    driver.ask(8);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
    driver.assert_works();
    // A descriptor table of which the device can see the first half.
    let mut driver = Driver::ready();
    remap(&mut driver);
    driver.place.descriptors = BUFFERS + 0x1000 - 128;
    driver.start(Features::VERSION_1);
    driver.describe(12, BUFFERS, 8, WRITE, 0);
    driver.request(12);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
    driver.assert_works();
}

#[test]
fn buffers_for_the_device_to_read() {
    is_a_fault(|driver| {
        driver.describe(0, BUFFERS, 8, 0, 0);
        driver.request(0);
    });
    is_a_fault(|driver| {
        driver.describe(0, BUFFERS, 8, NEXT, 1);
        driver.describe(1, BUFFERS, 8, WRITE, 0);
        driver.request(0);
    });
    is_a_fault(|driver| {
        driver.describe(0, BUFFERS, 8, WRITE | NEXT, 1);
        driver.describe(1, BUFFERS, 8, 0, 0);
        driver.request(0);
    });
}

#[test]
fn indirect_tables_that_cannot_be() {
    // Nothing, half a descriptor, more than the queue has, 4 GiB.
    for length in [0, 8, 24, 17 * 16, u32::MAX, u32::MAX - 15] {
        is_a_fault(|driver| {
            driver.describe_at(TABLE, BUFFERS, 8, WRITE, 0);
            driver.describe(0, TABLE, length, INDIRECT, 0);
            driver.request(0);
        });
    }
    // A table in a table, and one that is not the chain's end.
    is_a_fault(|driver| {
        driver.describe_at(TABLE, TABLE + 0x100, 16, INDIRECT, 0);
        driver.describe_at(TABLE + 0x100, BUFFERS, 8, WRITE, 0);
        driver.describe(0, TABLE, 16, INDIRECT, 0);
        driver.request(0);
    });
    is_a_fault(|driver| {
        driver.describe_at(TABLE, BUFFERS, 8, WRITE, 0);
        driver.describe(0, TABLE, 16, INDIRECT | NEXT, 1);
        driver.describe(1, BUFFERS, 8, WRITE, 0);
        driver.request(0);
    });
    // One that is not there.
    is_a_fault(|driver| {
        driver.describe(0, MEMORY, 16, INDIRECT, 0);
        driver.request(0);
    });
    // One that was not agreed on.
    let mut driver = Driver::ready();
    driver.start(Features::VERSION_1);
    driver.describe_at(TABLE, BUFFERS, 8, WRITE, 0);
    driver.describe(0, TABLE, 16, INDIRECT, 0);
    driver.request(0);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
    driver.assert_works();
}

#[test]
fn queue_sizes_that_cannot_be() {
    // 65536 does not fit into the register, and is 0 there.
    for size in [0, 3, 65536, 65535, 128, 63] {
        let mut driver = Driver::ready();
        driver.reset();
        assert!(driver.agree(Features::VERSION_1.bits()));
        driver.place_queue();
        driver.write(crate::driver::QUEUE_SIZE, if size > 65535 { 4 } else { 2 }, size);
        driver.write(QUEUE_ENABLE, 2, 1);
        assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET), "{size}");
        assert_eq!(driver.read(QUEUE_ENABLE, 2), 0);
        driver.assert_works();
    }
}

#[test]
fn misaligned_rings() {
    let moved: [fn(&mut Place); 3] =
        [|place| place.descriptors += 8, |place| place.available += 1, |place| place.used += 2];
    for place in moved {
        let mut driver = Driver::ready();
        place(&mut driver.place);
        driver.start(Features::VERSION_1);
        assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET), "{:?}", driver.place);
        driver.assert_works();
    }
}

#[test]
fn notifications_too_early_or_for_no_queue_do_nothing() {
    let mut driver = Driver::idle();
    driver.notify();
    assert!(driver.agree(Features::VERSION_1.bits()));
    driver.place_queue();
    driver.describe(0, BUFFERS, 8, WRITE, 0);
    driver.request(0);
    driver.write(QUEUE_ENABLE, 2, 1);
    driver.notify();
    assert_eq!(driver.answer(), None, "the driver is not ready");
    driver.add_status(Status::DRIVER_OK);
    assert_eq!(driver.answer(), Some((0, 8)));
    driver.describe(1, BUFFERS, 8, WRITE, 0);
    driver.offer(1);
    for queue in [1, 2, 0xffff] {
        driver.write(NOTIFY, 2, queue);
        assert_eq!(driver.answer(), None, "there is no queue {queue}");
    }
    driver.write(NOTIFY + 0xffc, 2, 0);
    assert_eq!(driver.answer(), Some((1, 8)), "any place will do");
}

#[test]
fn without_bus_mastering_no_memory_is_touched() {
    let mut driver = Driver::ready();
    driver.bench.write_config(4, 2, 2);
    driver.ask(8);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
    assert_eq!(driver.memory(BUFFERS, 8), [UNTOUCHED; 8]);
    driver.bench.write_config(4, 2, 6);
    driver.assert_works();
}

#[test]
fn memory_that_goes_while_a_request_is_under_way() {
    let mut driver = Driver::ready_by_message();
    driver.bench.hold_messages(true);
    driver.ask(64);
    assert!(driver.bench.unmap_memory(0, MEMORY));
    driver.bench.hold_messages(false);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
    driver.bench.map_memory(0, MEMORY, true).unwrap();
    driver.assert_works();
}

#[test]
fn memory_whose_file_is_truncated() {
    let mut driver = Driver::ready();
    driver.describe(0, MEMORY - 4096, 64, WRITE, 0);
    driver.bench.truncate_memory(MEMORY / 2).unwrap();
    driver.request(0);
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
    driver.assert_works();
    driver.bench.truncate_memory(0).unwrap();
    driver.notify();
    assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
}

#[test]
fn a_million_random_register_writes() {
    let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut driver = Driver::ready();
    let begun = Instant::now();
    for _ in 0..1_000_000 {
        let (what, value) = (random.next_u32(), random.next_u64());
        let size = 1 << (what & 3);
        let place = |bytes: u64| u64::from(what >> 8) % (bytes - 8);
        match what >> 2 & 31 {
            0 => driver.bench.write(1, place(4096), size, value),
            1 => driver.bench.write_config(place(256), size, value),
            2 => drop(driver.bench.read(4, place(0x4000), size)),
            3 => driver.bench.write(4, place(0x4000), size, value),
            // The registers that mean something, with values that mostly do.
            _ => driver.write(u64::from(what >> 8) % 0x38, size, value >> (value & 63)),
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    driver.bench.reset();
    driver.bench.write_config(4, 2, 6);
    driver.place = PLACE;
    driver.assert_works_without_interrupts();
}
