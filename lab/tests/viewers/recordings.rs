//! A recording as a driver of the teaching device leaves it, of any length.

use vfio_user_device::recording::{
    Event, File, Interrupt, InterruptKind, MemoryAccess, Message, Recorded, RecordedBar,
    RecordedRegister, SessionInfo,
};
use vfio_user_device::wire::{CONFIG_REGION, Command, HeaderFlags};
use vfio_user_trace::Trace;

/// The first numbers of the C library for seed 1.
const NUMBERS: [u32; 4] = [0x6b8b_4567, 0x327b_23c6, 0x643c_9869, 0x6633_4873];

fn access(command: Command, region: u32, offset: u64, value: u32) -> Event {
    let header = |payload: usize, flags: u32| {
        let mut header = [0; 16];
        let size = u32::try_from(16 + payload).expect("a short message");
        header[2..4].copy_from_slice(&(command as u16).to_le_bytes());
        header[4..8].copy_from_slice(&size.to_le_bytes());
        header[8..12].copy_from_slice(&flags.to_le_bytes());
        header
    };
    let mut head = offset.to_le_bytes().to_vec();
    head.extend(region.to_le_bytes());
    head.extend(4_u32.to_le_bytes());
    let whole = [head.as_slice(), &value.to_le_bytes()].concat();
    let reads = command == Command::RegionRead;
    let (payload, answer) = if reads { (head, whole) } else { (whole, head) };
    let (command, reply) =
        (header(payload.len(), 0), header(answer.len(), HeaderFlags::REPLY.bits()));
    Event::Message(Message {
        command,
        payload,
        fds: 0,
        reply: Some((reply, answer)),
        duration: 900,
    })
}

/// What happens in one round of the driver: a seed, numbers, now and then an interrupt and a buffer.
fn round(number: u32) -> Vec<(u64, Event)> {
    use Command::{RegionRead, RegionWrite};
    let mut events = vec![(180_000, access(RegionWrite, 0, 4, 1))];
    for value in NUMBERS {
        events.push((9_000, access(RegionRead, 0, 0, value)));
    }
    if number % 3 == 0 {
        let address = 0x10_0000 + u64::from(number) * 64;
        let data = NUMBERS.iter().flat_map(|number| number.to_le_bytes()).collect();
        events.push((
            2_000,
            Event::Memory(MemoryAccess {
                is_write: true,
                address,
                count: 16,
                data,
                message: None,
                error: 0,
            }),
        ));
        let interrupt = Interrupt { kind: InterruptKind::Msix, vector: 0, level: None };
        events.push((1_000, Event::Interrupt(interrupt)));
    }
    if number % 10 == 9 {
        events.push((2_500_000, access(RegionRead, CONFIG_REGION, 4, 0x0010_0006)));
    }
    events
}

/// So many events of a session.
pub fn driver(count: usize) -> Trace {
    let register = |name: &str, offset| RecordedRegister { name: name.into(), offset, size: 4 };
    let registers = vec![register("RANDOM", 0), register("SEED", 4)];
    let bar = RecordedBar { number: 0, size: 4096, max_access_width: 4, registers };
    let info = SessionInfo {
        server: "my-rng.sock".into(),
        process: Some(4711),
        vendor: 0x1234,
        device_id: 0xcafe,
        bars: vec![bar],
        ..SessionInfo::default()
    };
    let begin = std::iter::once((0, Event::Begin(Box::new(info))));
    let mut time = 0;
    let events = begin.chain((0..).flat_map(round)).take(count).map(|(pause, event)| {
        time += pause;
        Recorded { time, session: 1, event }
    });
    let time_of_day = 1_790_000_000_000_000_000;
    Trace::of(File { time_of_day, events: events.collect(), ..File::default() })
}
