//! What came out: TAP on the go, or one JSON document at the end.

use anyhow::{Error, Result};
use my_rng_model::latency::Latency;
use serde_json::{Map, Value, json};

/// How a check that did not fail ended.
#[derive(Debug)]
pub enum Outcome {
    /// All is well.
    Pass,
    /// All is well, and these were measured.
    Measured(Map<String, Value>),
    /// Nothing can be said, for this reason.
    Skip(String),
}

impl Outcome {
    /// Shorthand for a skip's result.
    pub fn skip(reason: impl Into<String>) -> Result<Self> {
        Ok(Self::Skip(reason.into()))
    }

    /// How long calls took.
    pub fn timed(latency: &Latency) -> Self {
        let entry = |percent| {
            let nanoseconds = u64::try_from(latency.percentile(percent).as_nanos());
            (format!("p{percent}_ns"), nanoseconds.unwrap_or(u64::MAX).into())
        };
        let mut data: Map<_, _> = [50, 99].map(entry).into_iter().collect();
        data.insert("calls".into(), latency.calls().into());
        Self::Measured(data)
    }
}

/// Collects and prints results.
#[derive(Debug)]
pub struct Report {
    json: bool,
    checks: Vec<Value>,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// Begins the output; the number of checks is TAP's plan.
    pub fn new(json: bool, planned: usize) -> Self {
        if !json {
            println!("TAP version 14\n1..{planned}");
        }
        Self { json, checks: Vec::new(), failed: 0, skipped: 0 }
    }

    /// Takes the next result.
    pub fn add(&mut self, group: &str, name: &str, result: Result<Outcome>) {
        match &result {
            Ok(Outcome::Skip(_)) => self.skipped += 1,
            Ok(_) => {}
            Err(_) => self.failed += 1,
        }
        if self.json {
            self.checks.push(json_entry(group, name, &result));
        } else {
            self.checks.push(Value::Null);
            print!("{}", tap_entry(self.checks.len(), group, name, &result));
        }
    }

    /// Ends the output; true when all is well.
    pub fn finish(self, strict: bool) -> bool {
        let ok = self.failed == 0 && !(strict && self.skipped > 0);
        let (total, failed, skipped) = (self.checks.len(), self.failed, self.skipped);
        if self.json {
            let document = json!({
                "ok": ok, "total": total, "failed": failed, "skipped": skipped,
                "checks": self.checks,
            });
            println!("{document:#}");
        } else {
            println!("# {total} checks, {failed} failed, {skipped} skipped");
        }
        ok
    }
}

fn json_entry(group: &str, name: &str, result: &Result<Outcome>) -> Value {
    match result {
        Ok(Outcome::Pass) => json!({"group": group, "name": name, "result": "ok"}),
        Ok(Outcome::Measured(data)) => {
            json!({"group": group, "name": name, "result": "ok", "data": data})
        }
        Ok(Outcome::Skip(reason)) => {
            json!({"group": group, "name": name, "result": "skip", "message": reason})
        }
        Err(error) => {
            let message = one_line(error);
            json!({"group": group, "name": name, "result": "not ok", "message": message})
        }
    }
}

fn tap_entry(number: usize, group: &str, name: &str, result: &Result<Outcome>) -> String {
    match result {
        Ok(Outcome::Pass) => format!("ok {number} - {group}: {name}\n"),
        Ok(Outcome::Measured(data)) => {
            let lines = data.iter().map(|(key, value)| format!("  {key}: {value}\n"));
            let lines: String = lines.collect();
            format!("ok {number} - {group}: {name}\n  ---\n{lines}  ...\n")
        }
        Ok(Outcome::Skip(reason)) => format!("ok {number} - {group}: {name} # SKIP {reason}\n"),
        Err(error) => {
            // A JSON string is a valid YAML one, whatever is in the message.
            let message = Value::String(one_line(error));
            format!("not ok {number} - {group}: {name}\n  ---\n  message: {message}\n  ...\n")
        }
    }
}

fn one_line(error: &Error) -> String {
    format!("{error:#}").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn pass_is_one_tap_line() {
        assert_eq!(tap_entry(1, "read", "works", &Ok(Outcome::Pass)), "ok 1 - read: works\n");
    }

    #[test]
    fn skip_is_ok_with_its_reason() {
        let line = tap_entry(2, "read", "works", &Outcome::skip("no device"));
        assert_eq!(line, "ok 2 - read: works # SKIP no device\n");
    }

    #[test]
    fn failure_carries_the_message_as_yaml() {
        let line = tap_entry(3, "read", "works", &Err(anyhow!("got \"x\"\nnot y")));
        assert_eq!(
            line,
            "not ok 3 - read: works\n  ---\n  message: \"got \\\"x\\\" not y\"\n  ...\n"
        );
    }

    #[test]
    fn measurements_are_yaml_and_json() {
        let mut data = Map::new();
        data.insert("p50_ns".into(), json!(12));
        let result = Ok(Outcome::Measured(data));
        assert_eq!(
            tap_entry(4, "latency", "ioctl", &result),
            "ok 4 - latency: ioctl\n  ---\n  p50_ns: 12\n  ...\n"
        );
        assert_eq!(json_entry("latency", "ioctl", &result)["data"]["p50_ns"], 12);
    }

    #[test]
    fn strict_does_not_forgive_a_skip() {
        let mut report = Report::new(true, 1);
        report.add("read", "works", Outcome::skip("no device"));
        assert!(!report.finish(true));
    }
}
