//! A device comes to rest for its migration while accesses to guest memory are under way.

use rustix::io::Errno;

use crate::common::*;
use crate::device::*;
use crate::migration::{migrate, set_state};
use crate::served::{RunningServer, ring};

#[test]
fn an_access_that_its_client_does_not_answer_is_made_again_at_the_other_one() {
    let servers = [RunningServer::everything(), RunningServer::everything()];
    let [mut here, mut there] = [&servers[0], &servers[1]].map(RunningServer::bus_master);
    here.map(0, 0x1000, None);
    there.map(0, 0x1000, None);
    ring(&mut here, WRITE, 0x10, 4, 0xab);
    let first = here.receive();
    assert_eq!(first.command, DMA_WRITE);
    migrate(&mut here, &mut there);
    let again = there.receive();
    assert_eq!((again.command, &again.payload), (DMA_WRITE, &first.payload));
    there.send_raw(&dma_reply(again.id, DMA_WRITE, 0x10, 4, &[]), &[]);
    wait_until("the access is over", || there.read_u32(0, DONE) == 1);
    assert_eq!(there.read_u32(0, STATUS), 0);
}

#[test]
fn an_access_that_its_client_does_not_answer_is_made_again_when_it_stays() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    client.map(0, 0x1000, None);
    ring(&mut client, READ, 0, 4, 0);
    let first = client.receive();
    set_state(&mut client, MIG_STOP);
    let late = dma_reply(first.id, DMA_READ, 0, 4, &[9; 4]);
    client.send_raw(&late, &[]);
    client.assert_in_sync();
    set_state(&mut client, MIG_RUNNING);
    let again = client.receive();
    assert_eq!(again.command, DMA_READ);
    client.send_raw(&dma_reply(again.id, DMA_READ, 0, 4, &[1; 4]), &[]);
    wait_until("the access is over", || client.read_u32(0, DONE) == 1);
    assert_eq!((client.read_u32(0, STATUS), client.read_u32(0, SUM)), (0, 4));
}

#[test]
fn a_client_that_answers_is_waited_for() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    client.map(0, 0x1000, None);
    ring(&mut client, READ, 0, 4, 0);
    let read = client.receive();
    let set = |id, state| message(id, DEVICE_FEATURE, &set_migration_state(state));
    let answer = dma_reply(read.id, DMA_READ, 0, 4, &[1; 4]);
    // In one piece, so that the answer is there however long this thread has to wait.
    client.send_raw(&[set(900, MIG_STOP), set(901, MIG_STOP_COPY), answer].concat(), &[]);
    let busy = client.receive();
    assert_eq!((busy.id, busy.errno()), (901, Errno::BUSY));
    let stopped = client.receive();
    assert_eq!((stopped.id, stopped.ok().len()), (900, 16));
    set_state(&mut client, MIG_RUNNING);
    assert_eq!((client.read_u32(0, DONE), client.read_u32(0, SUM)), (1, 4));
}

#[test]
fn a_client_that_goes_while_its_device_comes_to_rest_leaves_a_device_that_works() {
    let server = RunningServer::everything();
    let mut client = server.bus_master();
    client.map(0, 0x1000, None);
    ring(&mut client, READ, 0, 4, 0);
    client.receive();
    client.send(DEVICE_FEATURE, &set_migration_state(MIG_STOP), &[]);
    drop(client);
    let mut client = server.bus_master();
    client.map(0, 0x1000, None);
    ring(&mut client, READ, 0, 4, 0);
    assert_eq!(client.receive().command, DMA_READ);
}
