//! A recording that outlives the process.

use vfio_user_device::recording::{self, Event};

use crate::common::wait_until;
use crate::exchanged::Exchanged;

#[test]
fn the_new_process_goes_on_with_the_recording() {
    let mut exchanged =
        Exchanged::start(&["--generator", "glibc", "--seed", "1", "--record", "recording"]);
    let mut client = exchanged.client();
    client.read_u32(0, 0);
    exchanged.exchange();
    client.read_u32(0, 0);
    drop(client);
    exchanged.terminate();
    let path = exchanged.daemon().file("recording");
    wait_until("the recording has its end", || {
        let file = recording::read(&path).unwrap();
        matches!(file.events.last().map(|event| &event.event), Some(Event::End(_)))
    });
    let file = recording::read(&path).unwrap();
    let sessions: Vec<(u32, bool)> = file
        .events
        .iter()
        .filter_map(|event| match &event.event {
            Event::Begin(info) => Some((event.session, info.resumed)),
            _ => None,
        })
        .collect();
    assert_eq!(sessions, [(1, false), (2, true)]);
    let numbers = file.events.iter().filter_map(|event| match &event.event {
        Event::Message(message) => message.region_accesses().pop(),
        _ => None,
    });
    let numbers: Vec<u32> =
        numbers.map(|read| u32::from_le_bytes(read.data.try_into().unwrap())).collect();
    assert_eq!(numbers, [1804289383, 846930886]);
}
