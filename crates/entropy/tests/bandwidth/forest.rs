//! Random trees with random guests, of which no floor is too much.

use std::time::Duration;

use entropy::bandwidth::simulator::{Load, Simulator};
use entropy::bandwidth::{Bandwidth, ClassId, Limits};
use proptest::prelude::*;

/// A class, in terms of what its parent has.
#[derive(Clone, Debug)]
pub struct Plant {
    /// In thousandths of the source's capacity.
    average: Option<u64>,
    /// The part of what its parent and its earlier siblings have left, in percent.
    floor: u64,
    /// By how many percent the peak is above what it has to be.
    peak: Option<u64>,
    /// In grants of the source.
    burst: Option<u64>,
    grows: Grows,
}

#[derive(Clone, Debug)]
enum Grows {
    Leaf(Load),
    Group(Vec<Plant>),
}

/// A tree of up to 4 classes in depth whose guests behave like that.
pub fn trees(
    load: impl Strategy<Value = Load> + 'static,
) -> impl Strategy<Value = (u64, Vec<Plant>)> {
    let leaf = plant(load.prop_map(Grows::Leaf)).boxed();
    let tree = leaf.prop_recursive(2, 20, 4, |inner| {
        plant(prop::collection::vec(inner, 1..5).prop_map(Grows::Group))
    });
    (16_u64..256, prop::collection::vec(tree, 1..6)).prop_map(|(kib, plants)| (kib << 10, plants))
}

fn plant(grows: impl Strategy<Value = Grows>) -> impl Strategy<Value = Plant> {
    (
        prop::option::of(5_u64..300),
        prop_oneof![1 => Just(0), 2 => 1_u64..=100],
        prop::option::of(prop_oneof![1 => Just(0), 3 => 1_u64..300]),
        prop::option::of(8_u64..100),
        grows,
    )
        .prop_map(|(average, floor, peak, burst, grows)| {
            // An average without a peak is a ceiling: both then follow from the floor.
            let average = if peak.is_none() { None } else { average };
            Plant { average, floor, peak, burst, grows }
        })
}

/// The same tree with the shortest bursts.
pub fn without_bursts((capacity, mut plants): (u64, Vec<Plant>)) -> (u64, Vec<Plant>) {
    for plant in &mut plants {
        plant.burst = Some(8);
        if let Grows::Group(inner) = &mut plant.grows {
            *inner = without_bursts((capacity, std::mem::take(inner))).1;
        }
    }
    (capacity, plants)
}

/// Guests that always want more.
pub fn greedy() -> impl Strategy<Value = Load> {
    requests().prop_map(|request| Load::Greedy { request })
}

/// Guests of all kinds.
pub fn any_load() -> impl Strategy<Value = Load> {
    let time = || (1_u64..3000).prop_map(Duration::from_millis);
    prop_oneof![
        2 => greedy(),
        3 => (requests(), time(), time(), any::<u32>())
            .prop_map(|(request, on, off, seed)| Load::OnOff { request, on, off, seed }),
        1 => (requests(), 1_u64..300, any::<u32>()).prop_map(|(request, every, seed)| {
            Load::Random { request, every: Duration::from_millis(every), seed }
        }),
        1 => (requests(), 1_u64..300)
            .prop_map(|(request, think)| {
                Load::Thinking { request, think: Duration::from_millis(think) }
            }),
    ]
}

fn requests() -> impl Strategy<Value = u64> {
    prop_oneof![Just(64_u64), 16_u64..1024, Just(64 << 10)]
}

/// A class of a tree that has grown.
pub struct Class {
    pub id: ClassId,
    pub parent: Option<usize>,
    pub depth: u64,
    pub limits: Limits,
    /// Itself, if it is a leaf; or those within it.
    pub leaves: Vec<ClassId>,
    /// Indices of its children.
    pub children: Vec<usize>,
}

/// A tree in a simulator; its root is the first class.
pub struct Grown {
    pub simulator: Simulator,
    pub classes: Vec<Class>,
}

impl Grown {
    pub fn new((capacity, plants): &(u64, Vec<Plant>)) -> Self {
        let id = ClassId(0);
        let simulator =
            Simulator::new(id, Bandwidth::capacity(*capacity)).expect("a source of its capacity");
        let limits = simulator.tree().limits(id).expect("the root");
        let (leaves, children) = (Vec::new(), Vec::new());
        let root = Class { id, parent: None, depth: 0, limits, leaves, children };
        let mut grown = Grown { simulator, classes: vec![root] };
        grown.grow(0, plants);
        grown
    }

    fn grow(&mut self, parent: usize, plants: &[Plant]) {
        let mut left = self.classes[parent].limits.floor;
        for plant in plants {
            let index = self.classes.len();
            let id = ClassId(u16::try_from(index).expect("a small tree"));
            let bandwidth = self.bandwidth(plant, left);
            left -= bandwidth.floor.unwrap_or(0);
            let load = match &plant.grows {
                Grows::Leaf(load) => load.clone(),
                Grows::Group(_) => Load::None,
            };
            let above = self.classes[parent].id;
            self.simulator.add(above, id, bandwidth, load).expect("floors that fit");
            self.classes.push(Class {
                id,
                parent: Some(parent),
                depth: self.classes[parent].depth + 1,
                limits: self.simulator.tree().limits(id).expect("it was added"),
                leaves: Vec::new(),
                children: Vec::new(),
            });
            self.classes[parent].children.push(index);
            match &plant.grows {
                Grows::Leaf(_) => self.name_leaf(index),
                Grows::Group(plants) => self.grow(index, plants),
            }
        }
    }

    /// Adds a leaf to the root that has no floor and no ceiling, and always wants more.
    pub fn add_greedy_leaf(&mut self) {
        let grows = Grows::Leaf(Load::Greedy { request: 64 });
        self.grow(0, &[Plant { average: None, floor: 0, peak: None, burst: None, grows }]);
    }

    fn bandwidth(&self, plant: &Plant, left: u64) -> Bandwidth {
        let Class { limits: root, .. } = &self.classes[0];
        let floor = left * plant.floor / 100;
        let average = plant.average.map(|parts| root.floor * parts / 1000);
        let least = floor.max(average.unwrap_or(0)).max(root.floor / 100);
        Bandwidth {
            average,
            peak: plant.peak.map(|percent| least * (100 + percent) / 100),
            burst: plant.burst.map(|grants| grants * root.quantum),
            floor: Some(floor),
        }
    }

    /// Tells all that a leaf is in that it is.
    fn name_leaf(&mut self, index: usize) {
        let id = self.classes[index].id;
        let mut next = Some(index);
        while let Some(index) = next {
            self.classes[index].leaves.push(id);
            next = self.classes[index].parent;
        }
    }

    pub fn run(&mut self, seconds: u64) {
        self.simulator.run(Duration::from_secs(seconds));
    }

    /// What the most limited leaf within a class may take of what the class has.
    pub fn least_ceiling_within(&self, index: usize) -> u64 {
        let ceilings = self.classes[index].children.iter().map(|child| {
            let own = self.classes[*child].limits.ceiling.unwrap_or(u64::MAX);
            own.min(self.least_ceiling_within(*child))
        });
        ceilings.min().unwrap_or(u64::MAX)
    }

    /// The largest grant.
    pub fn quantum(&self) -> u64 {
        self.classes[0].limits.quantum
    }
}
