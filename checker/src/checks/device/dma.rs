//! The device writes to the guest's memory.

use super::clear::wait;
use super::registers::{SEED, hex};
use super::session::{Session, get, set};
use super::test_module::{address, count, load, memory, pattern, rearm, wait_for};
use crate::profile::{Contents, RegisterValue, Transfer};
use crate::stop::{Checked, Stop, ensure};

/// How much around the memory that is written has to stay as it was.
const AROUND: usize = 64;
/// Where transfers go to in the module's memory: one in a page, one over the border of two.
const IN_PAGE: usize = 3 * 4096 + AROUND;
const BORDER: usize = 2 * 4096;
/// Where they read, when they copy: away from those.
const SOURCES: [usize; 2] = [128, 72];
/// An address without memory behind it in the checker's guests.
const NOWHERE: u64 = 0xc000_0000;

/// A piece of the module's memory, and where it is read.
#[derive(Debug, Clone, Copy)]
struct Piece {
    source: usize,
    to: usize,
    bytes: usize,
}

/// Transfers of two lengths to two places write what they should, and nothing around it.
pub fn transfers(session: &mut Session<'_>, transfer: &Transfer) -> Checked {
    let numbers = transfer.source.is_empty() && transfer.contents == Contents::Numbers;
    if numbers {
        session.ensure_repeats()?;
    }
    session.write(&transfer.acknowledged_by)?;
    load(session, transfer.interrupt, 1)?;
    let half = transfer.bytes / 2;
    let pieces = [
        Piece { source: SOURCES[0], to: IN_PAGE, bytes: half },
        Piece { source: SOURCES[1], to: BORDER - half / 8 * 8, bytes: transfer.bytes },
    ];
    let mut before: Option<Vec<u8>> = None;
    for piece in pieces {
        let expected = if numbers { Some(drawn(session, piece.bytes)?) } else { None };
        one(session, transfer, piece)?;
        let written = written(session, piece)?;
        compare(transfer, piece, &written, expected.as_deref())?;
        let same = before.as_ref().is_some_and(|before| written.starts_with(before));
        ensure(!same || numbers || !transfer.source.is_empty(), || {
            "the second transfer writes the numbers of the first one".to_owned()
        })?;
        before = Some(written);
    }
    transfer.failed.as_ref().map_or(Ok(()), |failed| fails(session, transfer, failed))
}

/// A transfer to where there is no memory sets the bits that say so.
fn fails(session: &mut Session<'_>, transfer: &Transfer, failed: &RegisterValue) -> Checked {
    start(session, transfer, (NOWHERE, NOWHERE), transfer.bytes)?;
    let register = session.profile().register(&failed.register)?;
    let bits = failed.value;
    let seen = wait(session, register, bits)?;
    ensure(seen & bits == bits, || {
        format!(
            "{register} is {seen:#x} after a transfer to {NOWHERE:#x}, where there is no memory, and \
             does not get the bits {bits:#x}"
        )
    })
}

/// Makes a transfer, and waits for its end.
fn one(session: &mut Session<'_>, transfer: &Transfer, piece: Piece) -> Checked {
    let base = address(session)?;
    let before = count(session)?;
    start(session, transfer, (base + piece.source as u64, base + piece.to as u64), piece.bytes)?;
    let register = session.profile().register(&transfer.done.register)?;
    let bits = transfer.done.value;
    let seen = wait(session, register, bits)?;
    ensure(seen & bits == bits, || {
        format!(
            "{register} is {seen:#x} after {:#x} is written to {} for {} bytes, and does not get the \
             bits {bits:#x}",
            transfer.started_by.value, transfer.started_by.register, piece.bytes
        )
    })?;
    if transfer.interrupt.is_some() {
        let come = wait_for(session, before + 1, register)?;
        ensure(come > before, || "no interrupt comes when the transfer has ended".to_owned())?;
    }
    session.write(&transfer.acknowledged_by)?;
    if transfer.interrupt.is_some() {
        rearm(session)?;
    }
    Ok(())
}

/// Writes addresses and length, and has it start.
fn start(
    session: &mut Session<'_>,
    transfer: &Transfer,
    (source, destination): (u64, u64),
    bytes: usize,
) -> Checked {
    let profile = session.profile();
    let mut accesses = Vec::new();
    for (names, value) in [(&transfer.source, source), (&transfer.destination, destination)] {
        for (half, name) in names.iter().enumerate() {
            accesses.push(set(profile.register(name)?, value >> (32 * half)));
        }
    }
    accesses.push(set(profile.register(&transfer.length)?, bytes as u64));
    accesses.push(set(profile.register(&transfer.started_by.register)?, transfer.started_by.value));
    session.values(accesses)?;
    Ok(())
}

/// The numbers that reads give after a seed, as bytes. The device is seeded anew behind that.
fn drawn(session: &mut Session<'_>, bytes: usize) -> Result<Vec<u8>, Stop> {
    let profile = session.profile();
    let (random, seed) = (profile.random_register()?, profile.seed_register()?);
    let mut accesses = vec![set(seed, SEED)];
    accesses.extend(std::iter::repeat_n(get(random), bytes.div_ceil(random.width)));
    accesses.push(set(seed, SEED));
    let numbers = session.values(accesses)?;
    let part = |number: &u64| number.to_le_bytes().into_iter().take(random.width);
    Ok(numbers.iter().flat_map(part).take(bytes).collect())
}

/// What a transfer has written, when all around it is as it was.
fn written(session: &mut Session<'_>, piece: Piece) -> Result<Vec<u8>, Stop> {
    let from = piece.to - AROUND;
    let found = memory(session, from, piece.bytes + 2 * AROUND)?;
    let inside = AROUND..AROUND + piece.bytes;
    let changed = |at: &usize| !inside.contains(at) && found[*at] != pattern(from + at);
    if let Some(at) = (0..found.len()).find(changed) {
        let place = if at < AROUND {
            format!("{} bytes before the memory that it was given", AROUND - at)
        } else {
            format!("{} bytes behind the end of it", at - inside.end)
        };
        return Err(Stop::failed(format!(
            "a transfer of {} bytes writes elsewhere, too: {place}",
            piece.bytes
        )));
    }
    Ok(found[inside].to_vec())
}

/// What was written is what should be.
fn compare(transfer: &Transfer, piece: Piece, written: &[u8], numbers: Option<&[u8]>) -> Checked {
    let old = |range: std::ops::Range<usize>| -> Vec<u8> { range.map(pattern).collect() };
    let untouched = old(piece.to..piece.to + piece.bytes);
    let same = written.iter().rev().zip(untouched.iter().rev()).take_while(|(one, two)| one == two);
    let left = same.count();
    ensure(left < piece.bytes, || "the memory is as it was: nothing is written to it".to_owned())?;
    // One byte may be what it was by chance, or two.
    ensure(left < 4, || {
        format!("the last {left} of {} bytes are as they were: too few are written", piece.bytes)
    })?;
    let copied = old(piece.source..piece.source + piece.bytes);
    let expected = if transfer.source.is_empty() { numbers } else { Some(&copied[..]) };
    match expected {
        Some(expected) => as_expected(transfer, written, expected),
        None => {
            let words: std::collections::BTreeSet<_> = written.chunks(4).collect();
            ensure(words.len() > piece.bytes / 8, || {
                format!("{} bytes have only {} different numbers", piece.bytes, words.len())
            })
        }
    }
}

fn as_expected(transfer: &Transfer, written: &[u8], expected: &[u8]) -> Checked {
    let Some(at) = (0..written.len()).find(|at| written[*at] != expected[*at]) else {
        return Ok(());
    };
    let from = at / 4 * 4;
    let word = |bytes: &[u8]| {
        let low = bytes[from..].iter().take(4).rev();
        hex(&[low.fold(0, |word, byte| word << 8 | u64::from(*byte))])
    };
    let what = if transfer.source.is_empty() {
        "reads of the random register give after the same seed"
    } else {
        "is at the source"
    };
    Err(Stop::failed(format!(
        "the memory has {} at byte {from}, and {} {what}",
        word(written),
        word(expected)
    )))
}
