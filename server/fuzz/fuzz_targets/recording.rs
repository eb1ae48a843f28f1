//! A recording from anywhere: it is read, cut, shown in all forms, and replayed.
//!
//! An input is the file. A record that makes no sense is left out or ends the reading; none has more
//! shown than it has bytes.
#![no_main]

use std::hint::black_box;

use libfuzzer_sys::fuzz_target;
use my_rng_model::generator::Kind;
use my_rng_server::devices::my_rng::MyRng;
use vfio_user_device::recording::{File, replay};
use vfio_user_trace::{Entry, Filter, Trace, html, json, pcapng, text};

fuzz_target!(|data: &[u8]| {
    let Ok(file) = File::from_bytes(data) else { return };
    let middle = file.events.get(file.events.len() / 2).map_or(0, |event| event.time);
    let cut = File::cut(data, middle, u64::MAX).expect("it has been read");
    assert!(File::from_bytes(&cut).is_ok_and(|cut| cut.damage.is_none()));
    for session in 1..=file.sessions() {
        let device = MyRng::new(Kind::Glibc.start(Some(1)).unwrap());
        let _ = replay(&file, session, device);
    }
    let trace = Trace::of(file);
    let entries: Vec<&Entry> = trace.entries.iter().collect();
    assert!(entries.len() <= data.len());
    black_box(text::write(&trace, &entries));
    black_box(json::write(&entries));
    black_box(html::write(&trace, &entries, "fuzz"));
    black_box(pcapng::write(&trace, &entries));
    let last = Filter { last: Some(1), ..Filter::default() };
    assert!(last.choose(&trace.entries).len() <= 1);
});
