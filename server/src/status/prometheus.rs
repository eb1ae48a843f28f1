//! A status in the text format of Prometheus.

use anyhow::Result;
use entropy::health::HealthReport;
use prometheus::{
    Registry, TextEncoder, register_gauge_vec_with_registry, register_int_counter_vec_with_registry,
};

use crate::daemon::snapshot::{ClassStatus, GuestStatus, Snapshot};

/// What every metric's name begins with.
const NAMESPACE: &str = "my_rng_server";

type GuestValue<T> = (&'static str, &'static str, fn(&GuestStatus) -> T);

/// What only grows.
const GUEST_COUNTERS: [GuestValue<u64>; 4] = [
    ("guest_bytes_total", "Random bytes that the guest was given.", |guest| guest.bytes),
    ("guest_requests_total", "Requests that were answered.", |guest| guest.requests),
    ("guest_connections_total", "Clients that were served.", |guest| guest.connections),
    ("guest_refused_total", "Clients that were rejected.", |guest| guest.refused),
];

/// What goes up and down.
const GUEST_GAUGES: [GuestValue<f64>; 2] = [
    ("guest_connected", "Whether a client is connected.", |guest| {
        f64::from(u8::from(guest.client.is_some()))
    }),
    ("guest_waiting_requests", "Requests that wait for bytes.", |guest| guest.waiting as f64),
];

type ClassValue = (&'static str, &'static str, fn(&ClassStatus) -> Option<u64>);

const CLASS_GAUGES: [ClassValue; 4] = [
    ("class_average_bytes", "What it may take over time, in a second.", |class| class.average),
    ("class_peak_bytes", "What it may take for a short while, in a second.", |class| class.peak),
    ("class_floor_bytes", "What it gets however busy others are, in a second.", |class| {
        Some(class.floor)
    }),
    ("class_promised_bytes", "How much of the floor connected guests have.", |class| {
        Some(class.promised)
    }),
];

type HealthValue = (&'static str, &'static str, fn(&HealthReport) -> u64);

/// Of sources that are tested, by the guest or the shared source that they are of.
const HEALTH_COUNTERS: [HealthValue; 3] = [
    ("health_tested_bytes_total", "Bytes that were tested.", |report| report.bytes),
    ("health_repetition_alarms_total", "Alarms of the repetition count test.", |report| {
        report.repetition_alarms
    }),
    ("health_proportion_alarms_total", "Alarms of the adaptive proportion tests.", |report| {
        report.proportion_alarms
    }),
];

/// The text.
pub fn of(snapshot: &Snapshot) -> Result<String> {
    let registry = Registry::new_custom(Some(NAMESPACE.to_owned()), None)?;
    let labels = ["guest", "device", "transport"];
    let values =
        |guest: &GuestStatus| [&guest.name, &guest.device, &guest.transport].map(Clone::clone);
    for (name, help, value) in GUEST_COUNTERS {
        let metric = register_int_counter_vec_with_registry!(name, help, &labels, registry)?;
        for guest in &snapshot.guests {
            metric.with_label_values(&values(guest)).inc_by(value(guest));
        }
    }
    for (name, help, value) in GUEST_GAUGES {
        let metric = register_gauge_vec_with_registry!(name, help, &labels, registry)?;
        for guest in &snapshot.guests {
            metric.with_label_values(&values(guest)).set(value(guest));
        }
    }
    for (name, help, value) in CLASS_GAUGES {
        let metric = register_gauge_vec_with_registry!(name, help, &["class"], registry)?;
        for class in &snapshot.classes {
            if let Some(bytes) = value(class) {
                metric.with_label_values(&[&class.name]).set(bytes as f64);
            }
        }
    }
    let labels = ["source_of"];
    for (name, help, value) in HEALTH_COUNTERS {
        let metric = register_int_counter_vec_with_registry!(name, help, &labels, registry)?;
        for (source_of, report) in snapshot.health() {
            metric.with_label_values(&[source_of]).inc_by(value(report));
        }
    }
    let help = "Whether guests get no bytes, because their source fails its health tests.";
    let stopped = register_gauge_vec_with_registry!("health_stopped", help, &labels, registry)?;
    for (source_of, report) in snapshot.health() {
        stopped.with_label_values(&[source_of]).set(f64::from(u8::from(report.stopped)));
    }
    let help = "How strict the daemon's sandbox is.";
    let sandbox = register_gauge_vec_with_registry!("sandbox", help, &["mode"], registry)?;
    sandbox.with_label_values(&[&snapshot.sandbox.mode.to_string()]).set(1.0);
    Ok(TextEncoder::new().encode_to_string(&registry.gather())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_and_class_has_its_lines() {
        let text = of(&crate::status::example()).unwrap();
        let labels = r#"device="virtio-rng",guest="web1",transport="vfio-user""#;
        for line in [
            "# TYPE my_rng_server_guest_bytes_total counter".to_owned(),
            format!("my_rng_server_guest_bytes_total{{{labels}}} 4096"),
            format!("my_rng_server_guest_refused_total{{{labels}}} 1"),
            format!("my_rng_server_guest_connected{{{labels}}} 1"),
            format!("my_rng_server_guest_waiting_requests{{{labels}}} 1"),
            "my_rng_server_health_repetition_alarms_total{source_of=\"hwrng\"} 1".to_owned(),
            "my_rng_server_health_stopped{source_of=\"hwrng\"} 0".to_owned(),
            "my_rng_server_class_promised_bytes{class=\"hwrng\"} 8192".to_owned(),
        ] {
            assert!(text.lines().any(|written| written == line), "{line}\n{text}");
        }
        assert!(text.contains(r#"guest="a \"name\"\\""#), "{text}");
        assert!(!text.contains("class_peak_bytes{"), "a class without a peak: {text}");
    }
}
