//! `my-rng-server trace`: shows what is in a recording.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use vfio_user_trace::{Entry, Filter, Kind, Trace, html, json, pcapng, text};

use crate::stdout::print;

const EXAMPLES: &str = "\
EXAMPLES
  my-rng-server --socket-path /tmp/my-rng.sock --record my-rng.rec
  my-rng-server trace my-rng.rec --register SEED --register RANDOM --last 20
  my-rng-server trace my-rng.rec --kind interrupt --kind dma --from 1.5 --to 2
  my-rng-server trace my-rng.rec --html timeline.html

  In Wireshark, with a dissector for vfio-user:

    my-rng-server trace --dissector > vfio-user.lua
    my-rng-server trace my-rng.rec --format pcapng --output my-rng.pcapng
    wireshark -X lua_script:vfio-user.lua my-rng.pcapng";

/// Show what is in a recording: register accesses by name, interrupts, guest memory, messages.
///
/// A server with --record FILE makes one. docs/recording.md describes the format.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct TraceCommand {
    /// The recording.
    #[arg(value_name = "FILE", required_unless_present = "dissector")]
    file: Option<PathBuf>,

    #[command(flatten)]
    filter: FilterArguments,

    /// How to show it.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,

    /// Write to FILE instead of to standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write a page with a timeline to FILE. It needs no network.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["format", "output"])]
    html: Option<PathBuf>,

    /// Print Wireshark's dissector for vfio-user, in Lua.
    #[arg(long, exclusive = true)]
    dissector: bool,
}

/// What to show.
#[derive(Debug, Args)]
struct FilterArguments {
    /// Only the register with this name, or interrupt, or place: RANDOM, BAR0+0x10, COMMAND, "MSI-X 3".
    /// Can be given several times.
    #[arg(long, value_name = "NAME")]
    register: Vec<String>,

    /// Only this kind. Can be given several times.
    #[arg(long, value_name = "KIND", value_parser = kinds())]
    kind: Vec<Kind>,

    /// Only this session, the first one being 1.
    #[arg(long, value_name = "N")]
    session: Option<u32>,

    /// Only from this time on, in seconds since the beginning of the file.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    from: Option<u64>,

    /// Only up to this time.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    to: Option<u64>,

    /// Only so many, the last ones.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A line for each entry.
    Text,
    /// An object in JSON for each entry, a line each.
    Json,
    /// The messages, for Wireshark.
    Pcapng,
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    let find = |name: String| Kind::ALL.into_iter().find(|kind| kind.name() == name);
    PossibleValuesParser::new(Kind::ALL.map(Kind::name))
        .try_map(move |name| find(name).ok_or("there is no such kind"))
}

/// Seconds as nanoseconds.
fn seconds(text: &str) -> Result<u64, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
    let duration = seconds.and_then(|it| std::time::Duration::try_from_secs_f64(it).ok());
    let nanoseconds = duration.and_then(|it| u64::try_from(it.as_nanos()).ok());
    nanoseconds.ok_or_else(|| "a number of seconds is needed, such as 1.5".into())
}

impl TraceCommand {
    /// Shows it.
    pub fn run(&self) -> Result<()> {
        if self.dissector {
            return print(pcapng::DISSECTOR.as_bytes());
        }
        let file = self.file.as_deref().context("no recording: name a file")?;
        let trace = read(file)?;
        let entries = self.filter.filter().choose(&trace.entries);
        let shown = self.show(&trace, &entries, file);
        match self.html.as_ref().or(self.output.as_ref()) {
            Some(path) => {
                fs::write(path, shown).with_context(|| format!("cannot write {}", path.display()))
            }
            None => {
                ensure!(
                    self.format != Format::Pcapng || !io::stdout().is_terminal(),
                    "pcapng is not for a terminal: name a file with --output"
                );
                print(&shown)
            }
        }
    }

    fn show(&self, trace: &Trace, entries: &[&Entry], file: &Path) -> Vec<u8> {
        if self.html.is_some() {
            let title = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy();
            return html::write(trace, entries, &title).into_bytes();
        }
        match self.format {
            Format::Text => text::write(trace, entries).into_bytes(),
            Format::Json => json::write(entries).into_bytes(),
            Format::Pcapng => pcapng::write(trace, entries),
        }
    }
}

impl FilterArguments {
    fn filter(&self) -> Filter {
        Filter {
            names: self.register.clone(),
            kinds: self.kind.clone(),
            session: self.session,
            from: self.from,
            to: self.to,
            last: self.last,
        }
    }
}

/// Reads a recording.
pub fn read(file: &Path) -> Result<Trace> {
    Trace::read(file).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds() {
        assert_eq!(seconds("1.5"), Ok(1_500_000_000));
        for wrong in ["-1", "x", "1e300", "nan"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
