//! Floors, ceilings, and no capacity left unused, in every stretch of time.

use std::time::Duration;

use entropy::bandwidth::simulator::{Load, Simulator};
use entropy::bandwidth::{Bandwidth, ClassId, PERIOD};
use proptest::prelude::*;

use crate::forest::{Grown, any_load, trees};

/// Simulated seconds.
const SECONDS: u64 = 6;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn floors_hold_in_every_stretch_of_a_period_or_more(tree in trees(any_load())) {
        let mut grown = Grown::new(&tree);
        grown.run(SECONDS);
        for (index, class) in grown.classes.iter().enumerate() {
            // A group cannot have more than any child of it that wants something may take.
            let floor = class.limits.floor.min(grown.least_ceiling_within(index));
            let below = grown.simulator.trace().most_below(&class.leaves, floor, PERIOD);
            let grants = 2 * (class.depth + 1);
if below > grown.quantum() * (class.depth+1)*3/4 {eprintln!("W depth {} {}", class.depth, below as f64 / grown.quantum() as f64);}
            prop_assert!(
                below <= grants * grown.quantum(),
                "class {} is {} grants below {:?}",
                class.id, below as f64 / grown.quantum() as f64, class.limits
            );
        }
    }

    #[test]
    fn ceilings_are_never_passed(tree in trees(any_load())) {
        let mut grown = Grown::new(&tree);
        grown.run(SECONDS);
        for class in &grown.classes {
            let Some(ceiling) = class.limits.ceiling else { continue };
            let above = grown.simulator.trace().most_above(&class.leaves, ceiling);
            prop_assert!(above <= class.limits.burst, "class {}: {above} {:?}", class.id, class.limits);
        }
    }

    #[test]
    fn floors_hold_while_others_come_go_and_change(steps in prop::collection::vec(step(), 1..60)) {
        let (root, group, steady) = (ClassId(0), ClassId(1), ClassId(2));
        let bandwidth = |floor, peak| {
            Bandwidth { floor: Some(floor * 1024), peak, ..Bandwidth::default() }
        };
        let mut simulator = Simulator::new(root, Bandwidth::capacity(64 * 1024)).expect("a source");
        let peak = Some(24 * 1024);
        simulator.add(root, group, bandwidth(32, None), Load::None).expect("it fits");
        simulator.add(group, steady, bandwidth(20, peak), Load::Greedy { request: 64 }).expect("it");
        for Step { id, in_group, floor, peak, load, milliseconds } in steps {
            let (id, parent) = (ClassId(id), if in_group { group } else { root });
            let bandwidth = bandwidth(floor, peak);
            // What does not fit is refused, and changes nothing.
            let _ = match load {
                None => simulator.remove(id).is_ok(),
                Some(_) if simulator.tree().usage(id).is_some() => {
                    simulator.change(&[(id, bandwidth)]).is_ok()
                }
                Some(load) => simulator.add(parent, id, bandwidth, load).is_ok(),
            };
            simulator.run(Duration::from_millis(milliseconds));
        }
        let (trace, grant) = (simulator.trace(), simulator.tree().limits(root).expect("it").quantum);
        let below = trace.most_below(&[steady], 20 * 1024, PERIOD);
        prop_assert!(below <= 6 * grant, "{below} bytes");
        let burst = simulator.tree().limits(steady).expect("it is there").burst;
        prop_assert!(trace.most_above(&[steady], 24 * 1024) <= burst);
    }
}

/// Something that an administrator does, and how long it stays so.
#[derive(Clone, Debug)]
struct Step {
    id: u16,
    in_group: bool,
    /// KiB per second.
    floor: u64,
    peak: Option<u64>,
    /// None removes the class.
    load: Option<Load>,
    milliseconds: u64,
}

fn step() -> impl Strategy<Value = Step> {
    let peak = prop::option::of(30_000_u64..60_000);
    let load = prop::option::weighted(0.7, any_load());
    (3_u16..9, any::<bool>(), 0_u64..20, peak, load, 1_u64..1000).prop_map(
        |(id, in_group, floor, peak, load, milliseconds)| Step {
            id,
            in_group,
            floor,
            peak,
            load,
            milliseconds,
        },
    )
}
