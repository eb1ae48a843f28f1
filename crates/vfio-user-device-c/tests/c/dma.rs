//! Guest memory that is not shared.

use crate::common::{
    Client, DMA_MAP, DMA_READ, dma_map_with, dma_reply, memory, u64_at, wait_until,
};
use crate::compiler::{checkout, compile};
use crate::program::Program;

#[test]
fn memory_that_is_not_shared_is_out_of_reach_and_the_log_says_what_to_do() {
    let program = Program::serve(&compile(&checkout().join("qemu-device/examples/edu.c")), &[]);
    let mut client = program.client();
    client.map(0, 0x10000, None);
    client.write(7, 4, &[0x06, 0]);
    start_transfer(&mut client);
    wait_until("the transfer has ended", || client.read_u32(0, 0x98) & 1 == 0);
    program.wait_for_log("guest memory at 0x100 is not shared; give QEMU memory with share=on");
}

#[test]
fn memory_that_is_mapped_privately_is_found_out_and_the_log_says_what_to_do() {
    let program = Program::serve(&compile(&checkout().join("qemu-device/examples/edu.c")), &[]);
    let mut client = program.client();
    // Read-only memory without a descriptor is what QEMU has, and knows how to answer for.
    client.request_with(DMA_MAP, &dma_map_with(1, 0, 0x10_0000, 4096), &[]).ok();
    client.map(0, 0x10000, Some(&memory(0x10000)));
    client.write(7, 4, &[0x06, 0]);
    start_transfer(&mut client);
    // What the guest has written shows in its own mapping alone.
    let asked = client.receive();
    assert_eq!(asked.command, DMA_READ);
    let (address, count) = (u64_at(&asked.payload, 0), u64_at(&asked.payload, 8));
    let data = vec![7; count as usize];
    client.send_raw(&dma_reply(asked.id, DMA_READ, address, count, &data), &[]);
    start_transfer(&mut client);
    program.wait_for_log("guest memory at 0x100 is not shared; give QEMU memory with share=on");
}

/// Starts a transfer of guest memory at 0x100, as soon as the one before has ended.
fn start_transfer(client: &mut Client) {
    wait_until("the transfer has ended", || client.read_u32(0, 0x98) & 1 == 0);
    for (offset, value) in [(0x80, 0x100), (0x88, 0x40000), (0x90, 16), (0x98, 1)] {
        client.write_u32(0, offset, value);
    }
}
