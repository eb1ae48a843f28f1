//! What `edu` does, register by register.

use std::time::Instant;

use vfio_user_device::TestBench;

use super::*;

fn bench() -> TestBench {
    TestBench::new(Edu::default()).unwrap()
}

fn with_memory() -> TestBench {
    bench().with_memory(0x10000).unwrap()
}

/// Programs a transfer and lets it end.
fn transfer(bench: &mut TestBench, source: u64, destination: u64, count: u64, command: u64) {
    begin_transfer(bench, source, destination, count, command);
    assert!(bench.fire_timer(), "it takes its time");
}

fn begin_transfer(bench: &mut TestBench, source: u64, destination: u64, count: u64, command: u64) {
    bench.write(0, DMA_SOURCE, 8, source);
    bench.write(0, DMA_DESTINATION, 8, destination);
    bench.write(0, DMA_COUNT, 8, count);
    bench.write(0, DMA_COMMAND, 8, command);
}

#[test]
fn liveness_is_the_value_inverted() {
    let mut bench = bench();
    assert_eq!(bench.read(0, IDENTIFICATION, 4), 0x0100_00ed);
    bench.write(0, LIVENESS, 4, 0x1234_5678);
    assert_eq!(bench.read(0, LIVENESS, 4), 0xedcb_a987);
}

#[test]
fn a_factorial_is_there_when_the_status_says_so() {
    let mut bench = bench();
    for (number, result) in
        [(0, 1), (1, 1), (5, 120), (12, 479_001_600), (13, 1_932_053_504), (0xffff_ffff, 0)]
    {
        bench.write(0, FACTORIAL, 4, number);
        assert_eq!(bench.read(0, STATUS, 4), COMPUTING);
        bench.write(0, FACTORIAL, 4, 2);
        assert_eq!(bench.read(0, FACTORIAL, 4), number, "another one has to wait");
        assert!(bench.fire_timer());
        assert_eq!(bench.read(0, STATUS, 4), 0);
        assert_eq!(bench.read(0, FACTORIAL, 4), result, "{number}!");
    }
}

#[test]
fn a_factorial_interrupts_only_when_asked_to() {
    let mut bench = bench();
    bench.write(0, FACTORIAL, 4, 3);
    bench.fire_timer();
    assert!(!bench.interrupt_pin());
    bench.write(0, STATUS, 4, 0xff);
    assert_eq!(bench.read(0, STATUS, 4), INTERRUPT_AFTER_FACTORIAL);
    bench.write(0, FACTORIAL, 4, 3);
    bench.fire_timer();
    assert!(bench.interrupt_pin());
    assert_eq!(bench.read(0, INTERRUPT_STATUS, 4), FACTORIAL_DONE);
}

#[test]
fn intx_stays_until_every_cause_is_acknowledged() {
    let mut bench = bench();
    bench.write(0, INTERRUPT_RAISE, 4, 0);
    assert!(!bench.interrupt_pin(), "no cause, no interrupt");
    bench.write(0, INTERRUPT_RAISE, 4, 0x30);
    bench.write(0, INTERRUPT_ACKNOWLEDGE, 4, 0x10);
    assert_eq!(bench.read(0, INTERRUPT_STATUS, 4), 0x20);
    assert!(bench.interrupt_pin());
    bench.write(0, INTERRUPT_ACKNOWLEDGE, 4, 0x20);
    assert!(!bench.interrupt_pin());
}

#[test]
fn with_msi_each_raise_is_a_message_and_intx_is_silent() {
    let mut bench = bench().with_msi().unwrap();
    bench.write(0, INTERRUPT_RAISE, 4, 1);
    assert!(bench.take_interrupt(0) && !bench.interrupt_pin());
    assert!(!bench.take_interrupt(0));
}

#[test]
fn bytes_go_to_the_buffer_and_back() {
    let mut bench = with_memory();
    bench.write_memory(0x1000, b"a hundred bytes");
    transfer(&mut bench, 0x1000, BUFFER + 10, 15, RUN | INTERRUPT_AFTER_DMA);
    assert_eq!(bench.read(0, DMA_COMMAND, 8), INTERRUPT_AFTER_DMA);
    assert_eq!(bench.read(0, INTERRUPT_STATUS, 4), DMA_DONE);
    transfer(&mut bench, BUFFER + 12, 0x2000, 7, RUN | TO_GUEST);
    assert_eq!(bench.read_memory(0x2000, 8), b"hundred\0");
}

#[test]
fn a_transfer_takes_100_ms_and_has_the_memory_of_its_end() {
    let mut bench = with_memory();
    let begun = Instant::now();
    begin_transfer(&mut bench, 0x1000, BUFFER, 5, RUN | INTERRUPT_AFTER_DMA);
    let left = bench.timer_in().unwrap();
    assert!(left <= TRANSFER_TIME && left + begun.elapsed() >= TRANSFER_TIME, "{left:?}");
    assert_eq!(bench.read(0, DMA_COMMAND, 8), RUN | INTERRUPT_AFTER_DMA);
    assert!(!bench.interrupt_pin());
    bench.write_memory(0x1000, b"later");
    assert!(bench.fire_timer() && bench.interrupt_pin());
    transfer(&mut bench, BUFFER, 0x2000, 5, RUN | TO_GUEST);
    assert_eq!(bench.read_memory(0x2000, 5), b"later");
}

#[test]
fn a_factorial_and_a_transfer_do_not_wait_for_each_other() {
    let mut bench = with_memory();
    begin_transfer(&mut bench, 0x1000, BUFFER, 16, RUN | INTERRUPT_AFTER_DMA);
    bench.write(0, STATUS, 4, INTERRUPT_AFTER_FACTORIAL);
    bench.write(0, FACTORIAL, 4, 5);
    assert!(bench.fire_timer());
    assert_eq!((bench.read(0, FACTORIAL, 4), bench.read(0, DMA_COMMAND, 8) & RUN), (120, RUN));
    assert_eq!(bench.read(0, INTERRUPT_STATUS, 4), FACTORIAL_DONE);
    bench.write(0, FACTORIAL, 4, 6);
    assert!(bench.fire_timer() && bench.fire_timer() && !bench.fire_timer());
    assert_eq!((bench.read(0, FACTORIAL, 4), bench.read(0, DMA_COMMAND, 8) & RUN), (720, 0));
    assert_eq!(bench.read(0, INTERRUPT_STATUS, 4), FACTORIAL_DONE | DMA_DONE);
}

#[test]
fn a_transfer_does_not_outlive_its_guest() {
    let mut bench = with_memory();
    bench.write_memory(0, &[7; 0x2000]);
    begin_transfer(&mut bench, BUFFER, 0x1000, 16, RUN | TO_GUEST);
    bench.reconnect().unwrap();
    assert!(!bench.fire_timer());
    assert_eq!(bench.read(0, DMA_COMMAND, 8), TO_GUEST);
    assert_eq!(bench.read_memory(0x1000, 16), [7; 16]);
}

#[test]
fn a_transfer_keeps_its_registers_until_it_ends() {
    let mut bench = with_memory().by_message().unwrap();
    bench.hold_messages(true);
    transfer(&mut bench, 0x1000, BUFFER, 16, RUN);
    bench.write(0, DMA_COUNT, 8, 1);
    bench.write(0, DMA_COMMAND, 8, RUN | TO_GUEST);
    assert_eq!((bench.read(0, DMA_COUNT, 8), bench.read(0, DMA_COMMAND, 8)), (16, RUN));
    bench.hold_messages(false);
    assert_eq!(bench.read(0, DMA_COMMAND, 8), 0);
}

#[test]
fn only_28_bits_of_a_guests_address_count() {
    let mut bench = with_memory();
    bench.write_memory(0x1000, b"low");
    transfer(&mut bench, 0xffff_ffff_f000_1000, BUFFER, 3, RUN);
    transfer(&mut bench, BUFFER, 0x1000_2000, 3, RUN | TO_GUEST);
    assert_eq!(bench.read_memory(0x2000, 3), b"low");
}

#[test]
fn transfers_past_the_buffer_move_nothing_and_end() {
    let mut bench = with_memory();
    bench.write_memory(0, &[7; 0x3000]);
    for (place, count) in
        [(BUFFER, 4097), (BUFFER + 4096, 1), (BUFFER - 1, 1), (u64::MAX, 2), (BUFFER, u64::MAX)]
    {
        transfer(&mut bench, 0, place, count, RUN);
        transfer(&mut bench, place, 0, count, RUN | TO_GUEST | INTERRUPT_AFTER_DMA);
        assert_eq!(bench.read(0, DMA_COMMAND, 8), TO_GUEST | INTERRUPT_AFTER_DMA);
    }
    assert_eq!(bench.read_memory(0, 0x3000), [7; 0x3000]);
    transfer(&mut bench, BUFFER, 0, 4096, RUN | TO_GUEST);
    assert_eq!(bench.read_memory(0, 4097)[4095..], [0, 7], "the buffer was not written to");
}

#[test]
fn other_widths_and_places_are_no_registers() {
    let mut bench = bench();
    bench.write(0, LIVENESS, 4, 0);
    bench.write(0, LIVENESS, 1, 7);
    bench.write(0, LIVENESS, 2, 7);
    assert_eq!(bench.read(0, LIVENESS, 4), 0xffff_ffff);
    assert_eq!([bench.read(0, LIVENESS, 1), bench.read(0, LIVENESS, 2)], [0, 0]);
    assert_eq!(bench.read(0, IDENTIFICATION, 8), NOTHING);
    assert_eq!(bench.read(0, INTERRUPT_RAISE, 4), 0xffff_ffff, "write-only");
    assert_eq!(bench.read(0, DMA_SOURCE + 4, 4), 0xffff_ffff, "no half of its own");
    assert_eq!(bench.read(0, BUFFER, 4), 0xffff_ffff, "reached by DMA alone");
}

#[test]
fn a_reset_forgets_everything() {
    let mut bench = with_memory();
    bench.write(0, FACTORIAL, 4, 5);
    bench.write(0, INTERRUPT_RAISE, 4, 1);
    bench.reset();
    assert!(!bench.fire_timer() && !bench.interrupt_pin());
    assert_eq!((bench.read(0, STATUS, 4), bench.read(0, FACTORIAL, 4)), (0, 0));
}

#[test]
fn an_exchange_during_a_transfer_or_a_factorial_is_invisible() {
    for by_message in [false, true] {
        let mut bench = with_memory();
        if by_message {
            bench = bench.by_message().unwrap();
        }
        bench.write_memory(0x1000, b"exchange");
        bench.write(0, FACTORIAL, 4, 5);
        begin_transfer(&mut bench, 0x1000, BUFFER, 8, RUN | INTERRUPT_AFTER_DMA);
        bench.exchange(Edu::default()).unwrap();
        assert!(bench.timer_in().unwrap() <= FACTORIAL_TIME, "timers keep the time they have left");
        assert!(bench.fire_timer());
        assert_eq!(bench.read(0, FACTORIAL, 4), 120);
        // The message is on its way when the device is exchanged, and its answer comes too late.
        bench.hold_messages(true);
        assert!(bench.fire_timer());
        bench.exchange(Edu::default()).unwrap();
        bench.hold_messages(false);
        bench.exchange(Edu::default()).unwrap();
        assert!(bench.interrupt_pin());
        assert_eq!(bench.read(0, INTERRUPT_STATUS, 4), DMA_DONE);
        transfer(&mut bench, BUFFER, 0x2000, 8, RUN | TO_GUEST);
        assert_eq!(bench.read_memory(0x2000, 8), b"exchange");
    }
}
