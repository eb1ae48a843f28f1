//! What QEMU's memory core does with an access, as a model: the calls that it makes.
//!
//! The model goes byte by byte and knows nothing of shifts, so that it has no mistake in common with
//! the library.

/// What a region's operations say.
#[derive(Clone, Copy, Debug)]
pub struct Ops {
    pub valid: (u64, u64),
    pub valid_unaligned: bool,
    pub impl_: (u64, u64),
    pub impl_unaligned: bool,
    pub big_endian: bool,
}

/// A call of a region's function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub address: u64,
    pub size: u64,
    pub value: u64,
}

/// What the test device's read function returns.
pub fn value_at(address: u64) -> u64 {
    (address.wrapping_add(1)).wrapping_mul(0x0101_0101_0101_0101) ^ 0x0123_4567_89ab_cdef
}

/// The pieces of an access: address and size.
fn pieces(ops: &Ops, address: u64, size: u64) -> Vec<(u64, u64)> {
    let longest = if ops.valid.1 == 0 { 4 } else { ops.valid.1 };
    let (mut pieces, mut at) = (Vec::new(), address);
    while at < address + size {
        let fits = |piece: &u64| {
            *piece <= longest
                && at + piece <= address + size
                && (ops.impl_unaligned || at % piece == 0)
        };
        let piece = [8, 4, 2, 1].into_iter().find(fits).unwrap();
        pieces.push((at, piece));
        at += piece;
    }
    pieces
}

fn is_valid(ops: &Ops, address: u64, size: u64) -> bool {
    let (min, max) = ops.valid;
    (ops.valid_unaligned || address % size == 0) && (max == 0 || (min..=max).contains(&size))
}

/// Addresses of the calls for a piece, and their size.
fn calls(ops: &Ops, address: u64, size: u64) -> (Vec<u64>, u64) {
    let min = if ops.impl_.0 == 0 { 1 } else { ops.impl_.0 };
    let max = if ops.impl_.1 == 0 { 4 } else { ops.impl_.1 };
    let call = size.min(max).max(min);
    ((address..address + size).step_by(call as usize).collect(), call)
}

/// Bytes of a device's value of `size` bytes, the lowest address first.
fn bytes(ops: &Ops, value: u64, size: u64) -> Vec<u8> {
    let mut bytes = value.to_le_bytes()[..size as usize].to_vec();
    if ops.big_endian {
        bytes.reverse();
    }
    bytes
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A read: its calls, and the bytes that the guest gets.
pub fn read(ops: &Ops, address: u64, size: u64) -> (Vec<Call>, Vec<u8>) {
    let (mut made, mut got) = (Vec::new(), Vec::new());
    for (at, piece) in pieces(ops, address, size) {
        if !is_valid(ops, at, piece) {
            got.resize(got.len() + piece as usize, 0);
            continue;
        }
        let (addresses, call) = calls(ops, at, piece);
        for address in addresses {
            let value = value_at(address);
            made.push(Call { address, size: call, value });
            let all = bytes(ops, value, call);
            // A call that is wider than its piece lends its first bytes.
            got.extend(&all[..call.min(piece) as usize]);
        }
    }
    (made, got)
}

/// A write: its calls.
pub fn write(ops: &Ops, address: u64, data: &[u8]) -> Vec<Call> {
    let mut made = Vec::new();
    for (at, piece) in pieces(ops, address, data.len() as u64) {
        if !is_valid(ops, at, piece) {
            continue;
        }
        let start = (at - address) as usize;
        let data = &data[start..start + piece as usize];
        let (addresses, call) = calls(ops, at, piece);
        for (index, address) in addresses.into_iter().enumerate() {
            let from = index * call as usize;
            let mut part = data[from..data.len().min(from + call as usize)].to_vec();
            // What a wider call has beyond its piece is zeros.
            part.resize(call as usize, 0);
            if ops.big_endian {
                part.reverse();
            }
            made.push(Call { address, size: call | 0x100, value: number(&part) });
        }
    }
    made
}
