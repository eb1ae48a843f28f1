//! Where a device is in its migration to another server, and which steps lead from one place to
//! another. The states and their transitions are those of the kernel's VFIO, as far as vfio-user has
//! them.

/// What a device does for its migration. The numbers are the protocol's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum MigrationState {
    /// It could not take the state that it was given. A reset leads out of this.
    Error = 0,
    /// It stands still.
    Stop = 1,
    /// It works as always.
    #[default]
    Running = 2,
    /// It stands still, and its state can be read.
    StopCopy = 3,
    /// It stands still, and its state can be written.
    Resuming = 4,
    /// It works as always, and the first part of its state, which is empty, can be read.
    PreCopy = 6,
}

impl MigrationState {
    const ALL: [MigrationState; 6] = [
        MigrationState::Error,
        MigrationState::Stop,
        MigrationState::Running,
        MigrationState::StopCopy,
        MigrationState::Resuming,
        MigrationState::PreCopy,
    ];

    /// The state with that number.
    pub fn from_wire(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u32 == number)
    }

    /// Whether a device works in this state.
    pub fn is_running(self) -> bool {
        matches!(self, MigrationState::Running | MigrationState::PreCopy)
    }

    /// Whether the device's state can be read.
    pub fn is_saving(self) -> bool {
        matches!(self, MigrationState::StopCopy | MigrationState::PreCopy)
    }

    /// The next state on the shortest way to another one, which passes no saving state. `None` if
    /// there is no way.
    pub fn next(self, target: Self) -> Option<Self> {
        use MigrationState::{Error, PreCopy, Resuming, Running, Stop, StopCopy};
        Some(match (self, target) {
            (Error, _) | (_, Error) | (StopCopy, PreCopy) => return None,
            (from, to) if from == to => to,
            (Stop, Running | StopCopy | Resuming)
            | (Running, Stop | PreCopy)
            | (PreCopy, Running | StopCopy) => target,
            (Stop, _) | (PreCopy, _) => Running,
            (Running | StopCopy | Resuming, _) => Stop,
        })
    }

    /// Whether the way to another state leads from work to standstill.
    pub fn stops_on_the_way_to(self, target: Self) -> bool {
        self.is_running() && !target.is_running()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use MigrationState::{Error, PreCopy, Resuming, Running, Stop, StopCopy};

    use super::*;

    /// The direct transitions of the specification.
    const DIRECT: [(MigrationState, MigrationState); 9] = [
        (Running, Stop),
        (StopCopy, Stop),
        (Resuming, Stop),
        (PreCopy, Running),
        (Stop, Running),
        (Running, PreCopy),
        (Stop, StopCopy),
        (PreCopy, StopCopy),
        (Stop, Resuming),
    ];

    /// The length of the shortest way that passes no saving state.
    fn distance(from: MigrationState, to: MigrationState) -> Option<usize> {
        let mut ways = VecDeque::from([(from, 0)]);
        while let Some((state, steps)) = ways.pop_front() {
            if state == to {
                return Some(steps);
            }
            if steps < 6 && (state == from || !state.is_saving()) {
                let next = DIRECT.iter().filter(|(start, _)| *start == state);
                ways.extend(next.map(|(_, end)| (*end, steps + 1)));
            }
        }
        None
    }

    #[test]
    fn the_ways_are_the_shortest_ones() {
        for (from, to) in MigrationState::ALL
            .into_iter()
            .flat_map(|from| MigrationState::ALL.map(|to| (from, to)))
        {
            let mut way = vec![from];
            while way.last() != Some(&to) {
                let Some(next) = way.last().and_then(|state| state.next(to)) else { break };
                assert!(DIRECT.contains(&(*way.last().unwrap(), next)), "{way:?}, then {next:?}");
                way.push(next);
            }
            let expected = match (from, to) {
                (StopCopy, PreCopy) => None,
                _ => distance(from, to),
            };
            let found = (way.last() == Some(&to)).then_some(way.len() - 1);
            assert_eq!(found, expected, "{from:?} to {to:?}: {way:?}");
        }
    }

    #[test]
    fn numbers_are_the_protocols() {
        let known: Vec<_> = (0..9).map(MigrationState::from_wire).collect();
        let expected =
            [Some(Error), Some(Stop), Some(Running), Some(StopCopy), Some(Resuming), None];
        assert_eq!(known[..6], expected);
        assert_eq!(known[6..], [Some(PreCopy), None, None]);
    }
}
