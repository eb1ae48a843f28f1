//! `my-rng-server replay`: has a device do once more what was recorded.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail, ensure};
use clap::{ArgMatches, Args, FromArgMatches};
use entropy::source::{SourceFactory, Specification};
use my_rng_server::devices::{self, DeviceContext, DeviceFactory, DeviceOptions};
use toml::Spanned;
use toml::de::DeTable;
use vfio_user_device::recording::{Difference, Event, SessionInfo, replay};
use vfio_user_trace::{Entry, Trace, text};

use crate::{stdout, trace};

/// Entries that are shown before a difference, and behind it.
const SURROUNDINGS: usize = 5;

const EXAMPLES: &str = "\
EXAMPLES
  my-rng-server --socket-path /tmp/my-rng.sock --generator glibc --record my-rng.rec
  my-rng-server replay my-rng.rec                        # the device that was recorded
  my-rng-server replay my-rng.rec --generator chacha20   # another one: the first difference

EXIT STATUS
  0 if the device did all of it as it was recorded; 1 if not, or if it could not be replayed.";

/// Have a device do what was recorded, and compare each answer.
///
/// The device begins with the state that it was recorded with. It gets the accesses, timers and guest
/// memory of the recording. The first answer, interrupt or write to guest memory that is not as it
/// was recorded is shown, with what was before. Without options, the device is the one that was
/// recorded.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Replay {
    /// The recording.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Only this session, the first one being 1.
    #[arg(long, value_name = "N")]
    session: Option<u32>,

    /// The device [default: the one that was recorded].
    #[arg(long, value_name = "DEVICE", value_parser = devices::device_names(), hide_possible_values = true)]
    device: Option<String>,

    /// The options of another device.
    #[arg(skip)]
    options: Option<DeviceOptions>,
}

impl Replay {
    /// The command, with the options of all devices.
    pub fn command() -> clap::Command {
        let command = Replay::augment_args(clap::Command::new("replay"));
        devices::ALL.iter().fold(command, |command, factory| factory.add_options(command))
    }

    /// What the command line says.
    pub fn from_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut replay = Self::from_arg_matches(matches)?;
        let is_given = |factory: &&DeviceFactory| {
            factory.option_names().iter().any(|option| devices::given(matches, option))
        };
        let factory = match &replay.device {
            Some(name) => devices::find(name),
            None => devices::ALL.iter().find(is_given),
        };
        replay.options = factory.map(|factory| factory.options_of_matches(matches)).transpose()?;
        Ok(replay)
    }

    /// Replays it.
    pub fn run(&self) -> Result<()> {
        let trace = trace::read(&self.file)?;
        let sessions: Vec<u32> = match self.session {
            Some(session) => vec![session],
            None => (1..=trace.file.sessions()).collect(),
        };
        ensure!(!sessions.is_empty(), "{} has no session of a client", self.file.display());
        let mut report = String::new();
        let mut fine = true;
        for session in sessions {
            fine &= self.replay(&trace, session, &mut report)?;
        }
        stdout::print(report.as_bytes())?;
        ensure!(fine, "the device did something else");
        Ok(())
    }

    /// Replays one session. Returns whether there was no difference.
    fn replay(&self, trace: &Trace, session: u32, report: &mut String) -> Result<bool> {
        let info = trace.session(session);
        let info = info.with_context(|| format!("the recording has no session {session}"))?;
        let options = match &self.options {
            Some(options) => options.clone(),
            None => recorded_options(info)?,
        };
        let device = options.make(&context(&options)?)?;
        let replayed = replay(&trace.file, session, device)?;
        // Writing to a string cannot fail.
        let _ = write!(
            report,
            "session {session}: {} commands, {} accesses",
            replayed.commands, replayed.accesses
        );
        let Some(difference) = &replayed.difference else {
            let end = replayed.stopped.map_or(String::new(), |why| format!("; ends early: {why}"));
            let _ = writeln!(report, ", each answer as recorded{end}");
            return Ok(true);
        };
        let _ = writeln!(report, ", then a difference");
        report.push_str(&surroundings(trace, session, difference));
        if let Some(panic) = &replayed.panic {
            let _ = writeln!(report, "the device panicked at {panic}");
        }
        Ok(false)
    }
}

/// The options of the device that was recorded.
fn recorded_options(info: &SessionInfo) -> Result<DeviceOptions> {
    let name = info.device.get("device").and_then(serde_json::Value::as_str);
    let Some(name) = name else {
        bail!(
            "the recording is of a device {:04x}:{:04x} of another program, which my-rng-server \
             does not have; name one of its own with --device",
            info.vendor,
            info.device_id
        );
    };
    let factory = devices::find(name);
    let factory = factory.with_context(|| format!("the recorded device {name} is not known"))?;
    let mut table = info.device.clone();
    if let Some(table) = table.as_object_mut() {
        table.remove("device");
        table.retain(|_, value| !value.is_null());
    }
    let table = toml::to_string(&table)?;
    let table: Spanned<DeTable<'_>> = DeTable::parse(&table)?;
    Ok(factory.options_of_table(table)?)
}

/// What a device is made with. Bytes of a source are not in the recording: a source of its own is as
/// good as any other.
fn context(options: &DeviceOptions) -> Result<DeviceContext> {
    let specification = match options {
        DeviceOptions::VirtioRng(options) => options.specification()?,
        DeviceOptions::MyRng(_) => Specification::default(),
    };
    let source: Arc<dyn SourceFactory> = Arc::new(specification);
    let (meter, control) = (Arc::default(), Arc::new(OnceLock::new()));
    Ok(DeviceContext { guest: "replay".into(), source, meter, control })
}

/// A difference, with what stands around it.
fn surroundings(trace: &Trace, session: u32, difference: &Difference) -> String {
    let of_session: Vec<&Entry> =
        trace.entries.iter().filter(|entry| entry.session == session).collect();
    let at = of_session.iter().position(|entry| entry.index >= difference.index);
    let at = at.unwrap_or(of_session.len());
    let begin = at.saturating_sub(SURROUNDINGS);
    let end = (at + 1 + SURROUNDINGS).min(of_session.len());
    let lines = |range: std::ops::Range<usize>| {
        let entries = of_session.get(range).unwrap_or_default();
        text::write(trace, entries)
    };
    let mut report = lines(begin..at);
    let is_answer = trace
        .file
        .events
        .get(difference.index)
        .is_some_and(|event| matches!(event.event, Event::Message(_)));
    report.push_str(&lines(at..(at + 1).min(end)));
    let what = if is_answer { "the recorded answer is" } else { "recorded:" };
    // Writing to a string cannot fail.
    let _ = writeln!(report, "    ^ {what} {}", difference.recorded);
    let _ = writeln!(report, "    ^ now: {}", difference.replayed);
    report.push_str(&lines((at + 1).min(end)..end));
    report
}

#[cfg(test)]
mod tests {
    use my_rng_server::devices::my_rng::MyRngOptions;

    use super::*;

    #[test]
    fn recorded_options_become_the_device_again() {
        let options = MyRngOptions { seed: Some(7), ..MyRngOptions::default() };
        let device = serde_json::to_value(DeviceOptions::from(options.clone())).unwrap();
        let info = SessionInfo { device, ..SessionInfo::default() };
        assert_eq!(recorded_options(&info).unwrap(), DeviceOptions::from(options));
        let error = recorded_options(&SessionInfo::default()).unwrap_err().to_string();
        assert!(error.contains("--device"), "{error}");
    }
}
