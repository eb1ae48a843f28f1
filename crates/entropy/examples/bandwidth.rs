//! Draws the picture of `docs/bandwidth.md`: what guests of one source get over time.
//!
//! `cargo run -p entropy --example bandwidth` writes it again. The simulator runs three
//! scenarios; nothing in them is random, so that the picture is always the same.

use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, Result, anyhow};
use entropy::bandwidth::simulator::{Load, Simulator};
use entropy::bandwidth::{AdmissionError, Bandwidth, ClassId};
use plotters::prelude::*;

/// Where the picture is.
const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/bandwidth.svg");
/// What the source makes, KiB per second.
const CAPACITY: u64 = 64;
/// How long each scenario is, seconds.
const SECONDS: u64 = 30;
/// A point of a line is the mean of so many milliseconds.
const STEP: u64 = 250;
/// The end of a panel's vertical axis, KiB per second: above the lines there is room for a legend.
const HEIGHT: f64 = 100.0;
/// Pixels of the picture.
const SIZE: (u32, u32) = (900, 960);
/// Blue, orange and green that colour-blind people tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 3] =
    [RGBColor(0, 114, 178), RGBColor(230, 159, 0), RGBColor(0, 158, 115)];

const ROOT: ClassId = ClassId(0);

fn main() -> Result<()> {
    let path = env::args().nth(1).unwrap_or_else(|| PICTURE.to_owned());
    fs::write(&path, draw()?).with_context(|| path.clone())?;
    println!("{path}");
    Ok(())
}

/// A scenario that has run, and its guests' names.
struct Scenario {
    title: &'static str,
    simulator: Simulator,
    guests: Vec<(ClassId, &'static str)>,
}

impl Scenario {
    fn new(title: &'static str) -> Result<Self, AdmissionError> {
        let simulator = Simulator::new(ROOT, Bandwidth::capacity(CAPACITY << 10))?;
        Ok(Scenario { title, simulator, guests: Vec::new() })
    }

    /// Adds a guest that wants all it can get in some stretches of time (seconds).
    fn guest(
        &mut self,
        parent: ClassId,
        name: &'static str,
        bandwidth: Bandwidth,
        stretches: &[(u64, u64)],
    ) -> Result<(), AdmissionError> {
        let id = ClassId(self.guests.iter().map(|(id, _)| id.0).max().unwrap_or(10) + 1);
        let seconds = Duration::from_secs;
        let stretches = stretches.iter().map(|(from, to)| (seconds(*from), seconds(*to))).collect();
        self.guests.push((id, name));
        self.simulator.add(parent, id, bandwidth, Load::Scripted { request: 64, stretches })
    }

    fn run(mut self) -> Self {
        self.simulator.run(Duration::from_secs(SECONDS));
        self
    }

    /// What a guest got: seconds, and KiB per second.
    fn rates(&self, guest: ClassId) -> Vec<(f64, f64)> {
        let rate = |step: u64| {
            let time = |step| Duration::from_millis(step * STEP);
            let trace = self.simulator.trace();
            let bytes = trace.given_between(&[guest], time(step), time(step + 1));
            let kib_per_second = bytes as f64 / 1024.0 * 1000.0 / STEP as f64;
            ((2 * step + 1) as f64 * STEP as f64 / 2000.0, kib_per_second)
        };
        (0..SECONDS * 1000 / STEP).map(rate).collect()
    }
}

/// Floors against a sibling that takes everything.
fn floors() -> Result<Scenario, AdmissionError> {
    let mut scenario =
        Scenario::new("Floors: web has 16 KiB/s and mail 20 KiB/s, however greedy batch is")?;
    scenario.guest(
        ROOT,
        "batch: average 56, peak 64",
        kib(Some(56), Some(64), None, None),
        &[(0, 30)],
    )?;
    scenario.guest(ROOT, "web: floor 16", kib(None, None, None, Some(16)), &[(5, 20)])?;
    scenario.guest(ROOT, "mail: floor 20", kib(None, None, None, Some(20)), &[(10, 25)])?;
    Ok(scenario.run())
}

/// A group in which one guest leaves its share to the other, and then to another group.
fn borrowing() -> Result<Scenario, AdmissionError> {
    let mut scenario =
        Scenario::new("Borrowing: red1 and red2 are a group of average 48, next to blue of 16")?;
    let red = ClassId(1);
    scenario.simulator.add(ROOT, red, kib(Some(48), Some(64), None, None), Load::None)?;
    let blue = kib(Some(16), Some(64), None, None);
    scenario.guest(
        red,
        "red1: average 30, peak 64",
        kib(Some(30), Some(64), None, None),
        &[(0, 6), (12, 18), (24, 30)],
    )?;
    scenario.guest(
        red,
        "red2: average 18, peak 64",
        kib(Some(18), Some(64), None, None),
        &[(0, 18), (24, 30)],
    )?;
    scenario.guest(ROOT, "blue: average 16, peak 64", blue, &[(0, 30)])?;
    Ok(scenario.run())
}

/// A guest that may take more for a short while, after it has been idle.
fn bursts() -> Result<Scenario, AdmissionError> {
    let mut scenario =
        Scenario::new("Peak and burst: who was idle takes its burst, then its peak")?;
    let burst = |kib_at_once| kib(None, Some(12), Some(kib_at_once), None);
    scenario.guest(ROOT, "average 2, peak 64", kib(Some(2), Some(64), None, None), &[(0, 30)])?;
    scenario.guest(ROOT, "peak 12, burst 40", burst(40), &[(3, 12), (20, 30)])?;
    scenario.guest(ROOT, "peak 12, burst 1", burst(1), &[(9, 27)])?;
    Ok(scenario.run())
}

/// Average, peak, burst and floor in KiB.
fn kib(
    average: Option<u64>,
    peak: Option<u64>,
    burst: Option<u64>,
    floor: Option<u64>,
) -> Bandwidth {
    let bytes = |kib: u64| kib << 10;
    Bandwidth {
        average: average.map(bytes),
        peak: peak.map(bytes),
        burst: burst.map(bytes),
        floor: floor.map(bytes),
    }
}

/// The picture, in SVG.
fn draw() -> Result<String> {
    let mut picture = String::new();
    {
        let area = SVGBackend::with_string(&mut picture, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let panels = area.split_evenly((3, 1));
        for (panel, scenario) in panels.iter().zip([floors()?, borrowing()?, bursts()?]) {
            // The error of a backend that writes into memory is not Send: its words are enough.
            draw_scenario(panel, &scenario).map_err(|error| anyhow!("{error}"))?;
        }
        area.present()?;
    }
    if !picture.ends_with('\n') {
        picture.push('\n');
    }
    Ok(picture)
}

type Panel<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_scenario(panel: &Panel, scenario: &Scenario) -> Result<(), Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(panel)
        .caption(scenario.title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..SECONDS as f64, 0.0..HEIGHT)?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("KiB/s")
        .x_labels(16)
        .y_labels(10)
        .x_label_formatter(&|seconds| format!("{seconds:.0}"))
        .y_label_formatter(&|rate| format!("{rate:.0}"))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .light_line_style(WHITE)
        .draw()?;
    for ((guest, name), colour) in scenario.guests.iter().zip(COLOURS) {
        let line = LineSeries::new(scenario.rates(*guest), colour.stroke_width(3));
        chart
            .draw_series(line)?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(4)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(30)
        .background_style(WHITE)
        .label_font(("sans-serif", 14))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_picture_in_the_documentation_is_this_one() {
        let there = fs::read_to_string(PICTURE).expect(PICTURE);
        let drawn = draw().expect("a picture");
        assert!(there == drawn, "run cargo run -p entropy --example bandwidth");
    }
}
