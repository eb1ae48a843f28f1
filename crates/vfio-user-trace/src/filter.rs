//! Which entries are shown.

use crate::entry::{Entry, Kind};

/// Chooses entries. The default chooses all of them.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Names: of registers, interrupts, addresses. "SEED" chooses "SEED+2", too. Upper and lower case are
    /// the same. Empty: all.
    pub names: Vec<String>,
    /// Kinds. Empty: all.
    pub kinds: Vec<Kind>,
    /// The session.
    pub session: Option<u32>,
    /// From this time on, in nanoseconds since the beginning of the file.
    pub from: Option<u64>,
    /// Up to this time.
    pub to: Option<u64>,
    /// So many, the last ones.
    pub last: Option<usize>,
}

impl Filter {
    /// The chosen entries, in their order.
    #[must_use]
    pub fn choose<'e>(&self, entries: &'e [Entry]) -> Vec<&'e Entry> {
        let chosen: Vec<&Entry> = entries.iter().filter(|entry| self.takes(entry)).collect();
        let last = self.last.unwrap_or(usize::MAX);
        chosen.get(chosen.len().saturating_sub(last)..).unwrap_or_default().to_vec()
    }

    fn takes(&self, entry: &Entry) -> bool {
        (self.names.is_empty() || self.names.iter().any(|name| is_named(entry, name)))
            && (self.kinds.is_empty() || self.kinds.contains(&entry.kind))
            && self.session.is_none_or(|session| entry.session == session)
            && self.from.is_none_or(|from| entry.time >= from)
            && self.to.is_none_or(|to| entry.time <= to)
    }
}

fn is_named(entry: &Entry, name: &str) -> bool {
    let first = entry.name.get(..name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
    let rest = entry.name.get(name.len()..).unwrap_or_default();
    first && (rest.is_empty() || rest.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples;

    fn chosen(filter: &Filter) -> Vec<String> {
        let trace = examples::trace();
        filter.choose(&trace.entries).into_iter().map(|entry| entry.name.clone()).collect()
    }

    #[test]
    fn names_choose_registers_and_what_is_inside_them() {
        let names = |names: &[&str]| Filter {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Filter::default()
        };
        assert_eq!(chosen(&names(&["seed", "RANDOM"])), ["SEED", "RANDOM"]);
        assert_eq!(chosen(&names(&["BAR0"])), ["BAR0+0x10"]);
        assert_eq!(chosen(&names(&["SEE"])), [""; 0]);
    }

    #[test]
    fn kinds_times_and_a_number_go_together() {
        let kinds = vec![Kind::Register];
        let filter = Filter { kinds: kinds.clone(), from: Some(4_000_000), ..Filter::default() };
        assert_eq!(chosen(&filter), ["RANDOM", "BAR0+0x10"]);
        let filter = Filter { kinds, last: Some(1), to: Some(4_000_000), ..Filter::default() };
        assert_eq!(chosen(&filter), ["RANDOM"]);
        assert_eq!(chosen(&Filter { session: Some(2), ..Filter::default() }), [""; 0]);
    }
}
