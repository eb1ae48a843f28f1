//! Reading, writing and dumping registers.

use std::io::Write;

use anyhow::ensure;
use clap::Args;

use super::device::Device;
use super::region::{RegionId, Register, Width, parse_number};

/// Bytes that a dump shows of a large region without a count on the command line.
const USUAL_DUMP: u64 = 4096;
/// Bytes in a line of a dump.
const LINE: u64 = 16;

/// `probe SOCKET read`.
#[derive(Clone, Copy, Debug, Args)]
pub struct ReadRegister {
    #[command(flatten)]
    register: Register,
    /// How often to read it.
    #[arg(default_value_t = 1)]
    count: u64,
}

/// `probe SOCKET write`.
#[derive(Clone, Copy, Debug, Args)]
pub struct WriteRegister {
    #[command(flatten)]
    register: Register,
    /// The number to write, decimal or hexadecimal with 0x.
    #[arg(value_parser = parse_number)]
    value: u64,
}

/// `probe SOCKET dump`.
#[derive(Clone, Copy, Debug, Args)]
pub struct Dump {
    /// The number of a BAR, or "config" for configuration space.
    bar: RegionId,
    /// Offset of the first byte.
    #[arg(default_value_t = 0, value_parser = parse_number)]
    from: u64,
    /// Bytes to show. Without it, all that follow, but at most 4096.
    #[arg(value_parser = parse_number)]
    length: Option<u64>,
    /// Bytes to read at once: 1, 2, 4 or 8.
    #[arg(long, default_value = "4")]
    width: Width,
}

impl ReadRegister {
    /// Reads the register and prints each number on a line.
    ///
    /// # Errors
    /// There is no such register, or the server fails.
    pub fn run(&self, device: &mut Device, out: &mut impl Write) -> anyhow::Result<()> {
        let register = self.register;
        device.check_register(register)?;
        for _ in 0..self.count {
            writeln!(out, "0x{}", register.width.digits(device.read(register)?))?;
        }
        Ok(())
    }
}

impl WriteRegister {
    /// Writes the register.
    ///
    /// # Errors
    /// There is no such register, it is too narrow for the number, or the server fails.
    pub fn run(&self, device: &mut Device) -> anyhow::Result<()> {
        let register = self.register;
        device.check_register(register)?;
        ensure!(
            register.width.fits(self.value),
            "{:#x} does not fit into {} bytes",
            self.value,
            register.width.bytes()
        );
        Ok(device.write(register, self.value)?)
    }
}

impl Dump {
    /// Prints the numbers in a part of a region, little endian.
    ///
    /// # Errors
    /// The region has no such part, or the server fails.
    pub fn run(&self, device: &mut Device, out: &mut impl Write) -> anyhow::Result<()> {
        let (length, rest) = self.length(device)?;
        let end = self.from + length;
        let mut lines = Lines::default();
        let mut line = self.from;
        while line < end {
            let values = (line..end.min(line + LINE))
                .step_by(self.width.bytes().into())
                .map(|offset| self.value(device, offset))
                .collect::<anyhow::Result<Vec<_>>>()?;
            lines.add(out, line, &values.join(" "))?;
            line += LINE;
        }
        writeln!(out, "{end:08x}")?;
        if rest > 0 {
            writeln!(out, "({rest} more bytes; FROM and LENGTH choose others)")?;
        }
        Ok(())
    }

    /// How many bytes are to be shown, and how many are left over behind them.
    fn length(&self, device: &Device) -> anyhow::Result<(u64, u64)> {
        let width = u64::from(self.width.bytes());
        if let Some(length) = self.length {
            device.check(self.bar, self.from, length)?;
            ensure!(
                length % width == 0,
                "{length} bytes cannot be read {width} at once; choose another LENGTH or --width"
            );
            return Ok((length, 0));
        }
        device.check(self.bar, self.from, width)?;
        let all = device.region(self.bar).size - self.from;
        let length = all.min(USUAL_DUMP) / width * width;
        Ok((length, all - length))
    }

    /// A number, or question marks for a register that the server does not let one read.
    fn value(&self, device: &mut Device, offset: u64) -> anyhow::Result<String> {
        let register = Register { region: self.bar, offset, width: self.width };
        match device.read(register) {
            Ok(value) => Ok(self.width.digits(value)),
            Err(error) if error.is_refusal() => Ok("?".repeat(2 * usize::from(self.width.bytes()))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The lines of a dump; of equal ones the first and a star, as hexdump(1) does.
#[derive(Default)]
struct Lines {
    last: Option<String>,
    starred: bool,
}

impl Lines {
    fn add(&mut self, out: &mut impl Write, offset: u64, text: &str) -> std::io::Result<()> {
        if self.last.as_deref() == Some(text) {
            if !self.starred {
                writeln!(out, "*")?;
            }
            self.starred = true;
            return Ok(());
        }
        self.starred = false;
        self.last = Some(text.into());
        writeln!(out, "{offset:08x}: {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dumped(lines: &[&str]) -> String {
        let mut out = Vec::new();
        let mut collapsing = Lines::default();
        for (offset, line) in (0..).step_by(16).zip(lines) {
            collapsing.add(&mut out, offset, line).unwrap();
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn different_lines_are_all_shown() {
        assert_eq!(dumped(&["a", "b", "a"]), "00000000: a\n00000010: b\n00000020: a\n");
    }

    #[test]
    fn equal_lines_are_one_and_a_star() {
        let expected = "00000000: a\n00000010: b\n*\n00000040: c\n00000050: b\n*\n";
        assert_eq!(dumped(&["a", "b", "b", "b", "c", "b", "b"]), expected);
    }
}
