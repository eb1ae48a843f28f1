//! Judges what a file says, and makes a [`Configuration`] of it.
//!
//! Everything that is wrong is noted, not only the first thing, so that a file is right after one
//! look at the list. What is noted is replaced by a default, and the rest is looked at all the same.

use std::collections::{HashMap, HashSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use toml::Spanned;

use super::classes::{self, Misfit};
use super::file::{BandwidthTable, File, GroupTable, GuestTable, SourceTable};
use super::{Configuration, Group, Guest, GuestSource, Problem, SharedSource, Transport};
use crate::bandwidth::Bandwidth;
use crate::devices::{self, Settings, my_rng, virtio_rng};
use crate::limiter::{DEFAULT_PERIOD, Limit, LimitError};
use crate::source::{Specification, SpecificationError};

/// Longest path of a socket, `sun_path` in unix(7) less the zero at its end.
const LONGEST_SOCKET_PATH: usize = 107;
/// Permissions of a socket file of which nothing is said.
const SOCKET_MODE: u32 = 0o600;
/// Numbers of MSI-X vectors that a virtio-rng can have.
const VECTORS: [u32; 2] = [0, 2];

/// Makes a configuration of a file; `line_of` tells the line of an offset in the file.
pub(super) fn configuration(
    file: File,
    line_of: impl Fn(usize) -> usize,
) -> Result<Configuration, Vec<Problem>> {
    let mut judge = Judge { line_of, problems: Vec::new(), taken: HashMap::new() };
    let sources: Vec<_> = file.sources.into_iter().map(|table| judge.source(table)).collect();
    let groups = judge.groups(file.groups, &sources);
    let roots = sources.iter().map(|source| source.name.as_str());
    let shared: HashSet<&str> =
        roots.chain(groups.iter().map(|group| group.name.as_str())).collect();
    if let Some(path) = &file.control_socket {
        judge.socket("control-socket", path);
    }
    let guests: Vec<_> =
        file.guests.into_iter().map(|table| judge.guest(table.into_inner(), &shared)).collect();
    let configuration = Configuration {
        control_socket: file.control_socket.map(Spanned::into_inner),
        status_file: file.status_file,
        sources,
        groups,
        guests,
    };
    let mut problems = judge.problems;
    for Misfit { kind, name, reason } in classes::misfits(&configuration) {
        let line = judge.taken.get(&Name(kind, name.into())).copied().unwrap_or(1);
        problems.push(Problem { line, reason });
    }
    if problems.is_empty() {
        return Ok(configuration);
    }
    problems.sort_by_key(|problem| problem.line);
    Err(problems)
}

/// Something of which there can be one only: what it is, and its name.
#[derive(PartialEq, Eq, Hash)]
struct Name(&'static str, PathBuf);

/// Who notes what is wrong.
struct Judge<L> {
    line_of: L,
    problems: Vec<Problem>,
    /// Names and sockets so far, and in which line each is.
    taken: HashMap<Name, usize>,
}

impl<L: Fn(usize) -> usize> Judge<L> {
    fn line<T>(&self, at: &Spanned<T>) -> usize {
        (self.line_of)(at.span().start)
    }

    fn note<T>(&mut self, at: &Spanned<T>, reason: impl Display) {
        let line = self.line(at);
        self.problems.push(Problem { line, reason: reason.to_string() });
    }

    /// Takes what was made of a value, or notes what is wrong with it.
    fn judged<T, V, E: Display>(
        &mut self,
        at: &Spanned<V>,
        key: &str,
        result: Result<T, E>,
    ) -> Option<T> {
        result.map_err(|error| self.note(at, format!("{key}: {error}"))).ok()
    }

    /// Notes a name that is no name, or taken.
    fn name(&mut self, kind: &'static str, name: &Spanned<String>) -> String {
        let text = name.get_ref();
        if text.is_empty() || text.chars().any(char::is_control) {
            self.note(name, format!("name: {text:?} is no name for a {kind}"));
        }
        self.only_once(kind, name, Path::new(text));
        text.clone()
    }

    /// The same for a name by which guests ask for a source.
    fn class_name(&mut self, name: &Spanned<String>) -> String {
        let text = name.get_ref();
        if text.contains(':') || text.parse::<Specification>().is_ok() {
            self.note(name, format!("name: {text:?} is what a guest's own source is called"));
        }
        self.name("source or group", name)
    }

    fn only_once<T>(&mut self, kind: &'static str, at: &Spanned<T>, name: &Path) {
        let line = self.line(at);
        if let Some(earlier) = self.taken.insert(Name(kind, name.into()), line) {
            let name = name.display();
            self.note(at, format!("{name:?} is the {kind} of line {earlier} already"));
        }
    }

    /// The value of an enumeration that the command line has, too.
    fn value<V: ValueEnum>(&mut self, key: &str, text: &Spanned<String>) -> Option<V> {
        let known = || -> Vec<String> {
            let values = V::value_variants().iter().filter_map(ValueEnum::to_possible_value);
            values.map(|value| value.get_name().to_owned()).collect()
        };
        let value = V::from_str(text.get_ref(), false)
            .map_err(|_| format!("{:?} is none of {}", text.get_ref(), known().join(", ")));
        self.judged(text, key, value)
    }

    fn source(&mut self, table: SourceTable) -> SharedSource {
        let name = self.class_name(&table.name);
        let source = specification(table.source.get_ref(), table.file_loop);
        let source = self.judged(&table.source, "source", source).unwrap_or_default();
        let bandwidth = Self::bandwidth(&table.bandwidth);
        SharedSource { name, source, bandwidth, overcommit: table.overcommit }
    }

    fn bandwidth(table: &Spanned<BandwidthTable>) -> Bandwidth {
        let BandwidthTable { average, peak, burst, floor } = *table.get_ref();
        Bandwidth {
            average: average.map(|amount| amount.bytes),
            peak: peak.map(|amount| amount.bytes),
            burst: burst.map(|amount| amount.bytes),
            floor: floor.map(|amount| amount.bytes),
        }
    }

    /// The groups, in an order in which each is behind its parent.
    fn groups(&mut self, tables: Vec<GroupTable>, sources: &[SharedSource]) -> Vec<Group> {
        let mut known: HashSet<String> = sources.iter().map(|source| source.name.clone()).collect();
        for table in &tables {
            self.class_name(&table.name);
        }
        let (mut ordered, mut left) = (Vec::new(), tables);
        loop {
            let (next, orphans): (Vec<_>, Vec<_>) =
                left.into_iter().partition(|table| known.contains(table.parent.get_ref()));
            left = orphans;
            if next.is_empty() {
                break;
            }
            for table in next {
                let bandwidth = table.bandwidth.map(|table| Self::bandwidth(&table));
                known.insert(table.name.get_ref().clone());
                ordered.push(Group {
                    name: table.name.into_inner(),
                    parent: table.parent.into_inner(),
                    bandwidth: bandwidth.unwrap_or_default(),
                    overcommit: table.overcommit,
                });
            }
        }
        for orphan in left {
            let parent = orphan.parent.get_ref();
            let reason = format!("parent: no [[source]] or [[group]] {parent:?} is above this one");
            self.note(&orphan.parent, reason);
        }
        ordered
    }

    fn guest(&mut self, table: GuestTable, shared: &HashSet<&str>) -> Guest {
        let name = self.name("guest", &table.name);
        self.socket("socket", &table.socket);
        let mode = table.socket_mode.as_ref().and_then(|mode| {
            let parsed = u32::from_str_radix(mode.get_ref(), 8).ok().filter(|mode| *mode <= 0o777);
            self.judged(mode, "socket-mode", parsed.ok_or("an octal number up to 777 is needed"))
        });
        let transport = table.transport.as_ref().and_then(|text| self.value("transport", text));
        let transport = transport.unwrap_or_default();
        let device = self.device(&table, transport);
        self.useless_keys(&table, device, transport);
        Guest {
            name,
            socket_mode: mode.unwrap_or(SOCKET_MODE),
            transport,
            device: device.name,
            settings: self.settings(&table),
            source: self.guest_source(&table, shared),
            disconnect: table.disconnect,
            socket: table.socket.into_inner(),
        }
    }

    fn socket(&mut self, key: &str, path: &Spanned<PathBuf>) {
        let length = path.get_ref().as_os_str().len();
        if !(1..=LONGEST_SOCKET_PATH).contains(&length) {
            let reason =
                format!("{key}: a path of {length} bytes; 1 to {LONGEST_SOCKET_PATH} are possible");
            self.note(path, reason);
        }
        self.only_once("socket", path, path.get_ref());
    }

    fn device(&mut self, table: &GuestTable, transport: Transport) -> &'static devices::Kind {
        let default = match transport {
            Transport::VfioUser => &my_rng::KIND,
            Transport::VhostUser => &virtio_rng::KIND,
        };
        let Some(name) = &table.device else { return default };
        let found = devices::find(name.get_ref()).ok_or_else(|| {
            let all: Vec<&str> = devices::ALL.iter().map(|kind| kind.name).collect();
            format!("{:?} is none of {}", name.get_ref(), all.join(", "))
        });
        let kind = self.judged(name, "device", found).unwrap_or(default);
        if transport == Transport::VhostUser && kind.name != virtio_rng::KIND.name {
            self.note(name, format!("device: vhost-user has no {}, only virtio-rng", kind.name));
        }
        kind
    }

    /// Notes keys that the guest's device, or its transport, has no use for.
    fn useless_keys(&mut self, table: &GuestTable, device: &devices::Kind, transport: Transport) {
        let rings = ["virtio", "packed", "vectors"];
        for (option, place) in table.device_keys() {
            let Some(place) = place else { continue };
            let key = option.replace('_', "-");
            let reason = if !device.options.contains(&option) {
                format!("{key}: a {} has no use for it", device.name)
            } else if transport == Transport::VhostUser && rings.contains(&option) {
                format!("{key}: with vhost-user this is the virtual machine's to say")
            } else {
                continue;
            };
            let line = (self.line_of)(place);
            self.problems.push(Problem { line, reason });
        }
    }

    fn settings(&mut self, table: &GuestTable) -> Settings {
        let default = Settings::default();
        let generator = table.generator.as_ref().and_then(|text| self.value("generator", text));
        let interface = table.virtio.as_ref().and_then(|text| self.value("virtio", text));
        let msix = table.vectors.as_ref().map(|vectors| {
            if !VECTORS.contains(vectors.get_ref()) {
                self.note(vectors, format!("vectors: {} is none of 0, 2", vectors.get_ref()));
            }
            *vectors.get_ref() != 0
        });
        Settings {
            generator: generator.unwrap_or(default.generator),
            seed: table.seed.as_ref().map(|seed| *seed.get_ref()),
            keep_state: table.keep_state.as_ref().is_some_and(|keep| *keep.get_ref()),
            interface: interface.unwrap_or(default.interface),
            packed: table.packed.as_ref().is_some_and(|packed| *packed.get_ref()),
            msix: msix.unwrap_or(default.msix),
            limit: self.limit(table),
        }
    }

    fn limit(&mut self, table: &GuestTable) -> Option<Limit> {
        let period = match &table.period {
            None => DEFAULT_PERIOD,
            Some(period) => {
                let milliseconds = u32::try_from(*period.get_ref())
                    .map_err(|_| LimitError::PeriodType)
                    .and_then(|ms| if ms == 0 { Err(LimitError::Period) } else { Ok(ms) });
                let milliseconds = self.judged(period, "period", milliseconds)?;
                Duration::from_millis(milliseconds.into())
            }
        };
        let max_bytes = table.max_bytes.as_ref()?;
        let limit = u64::try_from(*max_bytes.get_ref())
            .map_err(|_| LimitError::MaxBytes)
            .and_then(|bytes| Limit::new(bytes, period));
        self.judged(max_bytes, "max-bytes", limit)
    }

    fn guest_source(&mut self, table: &GuestTable, shared: &HashSet<&str>) -> GuestSource {
        let repeat = table.file_loop.as_ref().filter(|repeat| *repeat.get_ref());
        let Some(source) = &table.source else {
            if let Some(repeat) = repeat {
                self.note(repeat, "file-loop: only a file can be read again, and none is named");
            }
            if let Some(bandwidth) = &table.bandwidth {
                self.note(bandwidth, "bandwidth: only a shared source has any, and none is named");
            }
            return GuestSource::Own(Specification::default());
        };
        let parent = source.get_ref();
        if shared.contains(parent.as_str()) {
            if let Some(repeat) = repeat {
                self.note(repeat, "file-loop: this is the affair of the shared source");
            }
            let bandwidth = table.bandwidth.as_ref().map(|table| Self::bandwidth(table));
            return GuestSource::Shared {
                parent: parent.clone(),
                bandwidth: bandwidth.unwrap_or_default(),
            };
        }
        if let Some(bandwidth) = &table.bandwidth {
            self.note(
                bandwidth,
                format!("bandwidth: {parent:?} is no shared [[source]] and no [[group]]"),
            );
        }
        let own = specification(parent, repeat.is_some())
            .map_err(|error| format!("{error}; or the name of a [[source]] or [[group]]"));
        GuestSource::Own(self.judged(source, "source", own).unwrap_or_default())
    }
}

fn specification(text: &str, file_loop: bool) -> Result<Specification, SpecificationError> {
    let parsed = text.parse::<Specification>()?;
    if file_loop { parsed.repeating() } else { Ok(parsed) }
}

impl GuestTable {
    /// The keys that not every device has a use for, as [`devices::Kind::options`] calls them, and
    /// where they stand.
    fn device_keys(&self) -> [(&'static str, Option<usize>); 10] {
        fn place<T>(value: Option<&Spanned<T>>) -> Option<usize> {
            value.map(|value| value.span().start)
        }
        [
            ("generator", place(self.generator.as_ref())),
            ("seed", place(self.seed.as_ref())),
            ("keep_state", place(self.keep_state.as_ref())),
            ("virtio", place(self.virtio.as_ref())),
            ("packed", place(self.packed.as_ref())),
            ("vectors", place(self.vectors.as_ref())),
            ("source", place(self.source.as_ref())),
            ("file_loop", place(self.file_loop.as_ref())),
            ("max_bytes", place(self.max_bytes.as_ref())),
            ("period", place(self.period.as_ref())),
        ]
    }
}
