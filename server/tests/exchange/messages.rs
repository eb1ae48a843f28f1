//! A client whose memory the device reaches by messages, and which takes its time with the answers.

use std::thread;
use std::time::Duration;

use crate::common::*;
use crate::exchanged::Exchanged;
use crate::rng_guest::{MEMORY, VERSION_1, set_up};

/// Longer than all sessions have to come to rest in one attempt.
const LATE: Duration = Duration::from_millis(1500);

/// Answers that there are zeros: no request.
fn answer(client: &Client, asked: &Reply) {
    assert_eq!((asked.command, asked.flags), (DMA_READ, 0), "it reads the queue");
    let (address, count) = (u64_at(&asked.payload, 0), u64_at(&asked.payload, 8));
    let zeros = vec![0; count as usize];
    client.send_raw(&dma_reply(asked.id, DMA_READ, address, count, &zeros), &[]);
}

#[test]
fn a_late_answer_of_the_client_delays_an_exchange_and_does_not_prevent_it() {
    let mut server = Exchanged::start(&["--device", "virtio-rng"]);
    let mut client = server.client();
    client.map(0, MEMORY, None);
    set_up(&mut client, VERSION_1);
    let asked = client.receive();
    thread::scope(|scope| {
        let exchange = scope.spawn(|| server.exchange());
        thread::sleep(LATE);
        answer(&client, &asked);
        // The device looks at the queue again, which the new process does once more.
        while !exchange.is_finished() {
            if client.is_quiet() {
                thread::sleep(Duration::from_millis(1));
            } else {
                let asked = client.receive();
                answer(&client, &asked);
            }
        }
    });
    let id = client.send(GET_INFO, &info(16), &[]);
    let mut reply = client.receive();
    while reply.command == DMA_READ {
        answer(&client, &reply);
        reply = client.receive();
    }
    assert_eq!(reply.id, id, "{reply:?}");
    assert!(server.daemon().log().contains("does not come to rest, trying again"));
}
