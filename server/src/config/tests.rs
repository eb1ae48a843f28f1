use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::devices::my_rng::MyRngOptions;
use crate::devices::virtio_rng::{Vectors, VirtioRngOptions};
use entropy::limiter::Limit;
use my_rng_model::generator;
use virtio_device::Interface;

/// The only problem of a text: line and reason.
fn problem(text: &str) -> (usize, String) {
    let mut problems = Configuration::parse(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    let Problem { line, reason } = problems.remove(0);
    (line, reason)
}

fn guest(keys: &str) -> String {
    format!("[[guest]]\nname = \"a\"\nsocket = \"/run/a\"\n{keys}")
}

const SHARED: &str = "\
[[source]]
name = \"hw\"
source = \"file:/dev/hwrng\"
bandwidth = { average = 64 }
";

#[test]
fn every_key_is_understood() {
    let text = r#"
control-socket = "/run/control"
status-file = "/var/lib/classes"

[[guest]]
name = "web"
socket = "/run/web"
socket-mode = "0660"
device = "virtio-rng"
virtio = "transitional"
packed = true
vectors = 0
source = "small"
max-bytes = 123
period = 1234
bandwidth = { average = 8, peak = "64 KiB", burst = "512 B", floor = 4 }

[[guest]]
name = "class"
socket = "/run/class"
generator = "glibc"
seed = 7
keep-state = true

[[guest]]
name = "old"
socket = "/run/old"
transport = "vhost-user"
source = "file:/dev/random"
file-loop = true

[[group]]
name = "small"
parent = "large"
bandwidth = { floor = 5 }

[[group]]
name = "large"
parent = "hw"
bandwidth = { floor = 6 }

[[source]]
name = "hw"
source = "egd:unix:/run/egd"
bandwidth = { average = 64 }
"#;
    let configuration = Configuration::parse(text).unwrap();
    assert_eq!(configuration.control_socket.as_deref(), Some(Path::new("/run/control")));
    assert_eq!(configuration.status_file.as_deref(), Some(Path::new("/var/lib/classes")));
    let names: Vec<_> = configuration.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["large", "small"], "parents first");
    assert_eq!(configuration.sources[0].bandwidth.average, Some(65536));
    let [web, class, old] = &configuration.guests[..] else { panic!("{configuration:?}") };
    assert_eq!(web.socket_mode, 0o660);
    let expected = VirtioRngOptions {
        virtio: Interface::Transitional,
        packed: true,
        vectors: Vectors::Zero,
        max_bytes: Some("123".parse().unwrap()),
        period: "1234".parse().unwrap(),
        ..VirtioRngOptions::default()
    };
    assert_eq!(web.device, expected.into());
    let bandwidth =
        Bandwidth { average: Some(8192), peak: Some(65536), burst: Some(512), floor: Some(4096) };
    assert_eq!(web.source, GuestSource::Shared { parent: "small".into(), bandwidth });
    assert_eq!(class.socket_mode, 0o600);
    let expected =
        MyRngOptions { generator: generator::Kind::Glibc, seed: Some(7), keep_state: true };
    assert_eq!(class.device, expected.into());
    assert_eq!((old.transport, old.device.device()), (Transport::VhostUser, "virtio-rng"));
    let source = Specification::File { path: "/dev/random".into(), repeat: true };
    assert_eq!(old.source, GuestSource::Own(source));
}

#[test]
fn a_limit_is_of_the_default_period_if_nothing_is_said() {
    let text = guest("device = \"virtio-rng\"\nmax-bytes = 10");
    let configuration = Configuration::parse(&text).unwrap();
    let limit = Limit::new(10, std::time::Duration::from_millis(65536)).unwrap();
    assert_eq!(configuration.guests[0].limit(), Some(limit));
}

#[test]
fn an_invalid_guest_is_named_with_its_line() {
    for (keys, line, reason) in [
        ("color = 1", 4, "unknown field `color`, expected one of"),
        ("seed = 1\nseed = 2", 5, "duplicate key"),
        ("seed = -1", 4, "invalid seed: integer `-1`; expected u32"),
        ("seed = \"1\"", 4, "invalid seed: string \"1\"; expected u32"),
        (
            "socket-mode = \"rw\"",
            4,
            "invalid socket-mode: \"rw\"; expected an octal number up to 777",
        ),
        (
            "socket-mode = \"1777\"",
            4,
            "invalid socket-mode: \"1777\"; expected an octal number up to 777",
        ),
        ("device = \"disk\"", 4, "invalid device: \"disk\"; expected one of my-rng, virtio-rng"),
        (
            "transport = \"tcp\"",
            4,
            "invalid transport: \"tcp\"; expected one of vfio-user, vhost-user",
        ),
        ("generator = \"dice\"", 4, "invalid generator: \"dice\"; expected one of chacha20, glibc"),
        ("packed = true", 4, "packed: not an option of device my-rng"),
        ("max-bytes = 5", 4, "max-bytes: not an option of device my-rng"),
        ("bandwidth = { floor = 1 }", 4, "bandwidth: only a guest of a shared source has one"),
        ("bandwidth = { flor = 1 }", 4, "unknown field `flor`"),
        (
            "transport = \"vhost-user\"\ndevice = \"my-rng\"",
            5,
            "device: vhost-user has only virtio-rng, not my-rng",
        ),
        (
            "transport = \"vhost-user\"\nvectors = 2",
            5,
            "vectors: with vhost-user, the VMM decides this",
        ),
    ] {
        let (at, words) = problem(&guest(keys));
        assert_eq!(at, line, "{keys}: {words}");
        assert!(words.contains(reason), "{keys}: {words}");
    }
}

#[test]
fn an_invalid_virtio_rng_is_named_with_its_line() {
    for (keys, reason) in [
        ("seed = 1", "seed: not an option of device virtio-rng"),
        ("keep-state = true", "keep-state: not an option of device virtio-rng"),
        ("vectors = 1", "invalid vectors: 1; expected one of 0, 2"),
        ("virtio = \"legacy\"", "invalid virtio: \"legacy\"; expected one of modern, transitional"),
        (
            "max-bytes = 0",
            "invalid max-bytes: 'max-bytes' parameter must be positive, and less than 2^63",
        ),
        (
            "max-bytes = -1",
            "invalid max-bytes: 'max-bytes' parameter must be positive, and less than 2^63",
        ),
        ("period = 0", "invalid period: 'period' parameter expects a positive integer"),
        ("period = 4294967296", "invalid period: Parameter 'period' expects uint32_t"),
        ("source = \"/dev/hwrng\"", "invalid source: \"/dev/hwrng\": unknown kind"),
        ("source = \"nowhere\"", "invalid source: \"nowhere\": unknown kind"),
        ("source = \"nowhere\"", "; or the name of a [[source]] or [[group]]"),
        ("file-loop = true", "file-loop: only a file can be read again"),
        ("source = \"getrandom\"\nfile-loop = true", "invalid source: cannot use --file-loop with"),
    ] {
        let (at, words) = problem(&guest(&format!("device = \"virtio-rng\"\n{keys}")));
        assert_eq!(at, 5, "{keys}: {words}");
        assert!(words.contains(reason), "{keys}: {words}");
    }
}

#[test]
fn duplicates_are_rejected_with_the_line_of_the_first() {
    let text = format!("{}\n[[guest]]\nname = \"a\"\nsocket = \"/run/b\"", guest(""));
    assert_eq!(problem(&text), (6, "\"a\" is in use: it is the guest of line 2".into()));
    let text = format!("{}\n[[guest]]\nname = \"b\"\nsocket = \"/run/a\"", guest(""));
    assert_eq!(problem(&text), (7, "\"/run/a\" is in use: it is the socket of line 3".into()));
    let text = format!("\ncontrol-socket = \"/run/a\"\n{}", guest(""));
    assert_eq!(problem(&text), (5, "\"/run/a\" is in use: it is the socket of line 2".into()));
    let text = format!("{SHARED}[[group]]\nname = \"hw\"\nparent = \"hw\"");
    assert_eq!(problem(&text), (6, "\"hw\" is in use: it is the source or group of line 2".into()));
}

#[test]
fn one_pair_of_brackets_is_too_few() {
    let (line, reason) = problem("\n[guest]\nname = \"a\"\nsocket = \"a\"");
    assert!(line == 2 && reason.ends_with("in [[ ]]"), "{line}: {reason}");
}

#[test]
fn groups_without_a_root_are_refused() {
    let text = "[[group]]\nname = \"g\"\nparent = \"nobody\"";
    let reason =
        "invalid parent: \"nobody\"; expected the name of a [[source]] or [[group]] above this one";
    assert_eq!(problem(text), (3, reason.into()));
    let text = "[[group]]\nname = \"g\"\nparent = \"h\"\n[[group]]\nname = \"h\"\nparent = \"g\"";
    assert_eq!(Configuration::parse(text).unwrap_err().len(), 2, "a circle");
}

#[test]
fn the_file_in_the_documentation_is_right() {
    let page = include_str!("../../../docs/configuration.md");
    let (_, rest) = page.split_once("```toml\n").unwrap();
    let (text, _) = rest.split_once("```").unwrap();
    let configuration = Configuration::parse(text).unwrap();
    assert_eq!(configuration.guests.len(), 3);
    assert_eq!(configuration.source_of("tenants"), Some("hwrng"));
}

/// A group with a floor, and guests with these floors in it.
fn floors(group: &str, floors: &[u32]) -> String {
    let mut text = format!("{SHARED}[[group]]\nname = \"g\"\nparent = \"hw\"\n{group}\n");
    for (index, floor) in floors.iter().enumerate() {
        text += &format!(
            "[[guest]]\nname = \"{index}\"\nsocket = \"/run/{index}\"\ndevice = \"virtio-rng\"\n\
             source = \"g\"\nbandwidth = {{ floor = {floor} }}\n"
        );
    }
    text
}

#[test]
fn floors_that_do_not_fit_are_refused_with_the_numbers() {
    Configuration::parse(&floors("bandwidth = { floor = 24 }", &[8, 16])).unwrap();
    let (line, reason) = problem(&floors("bandwidth = { floor = 24 }", &[8, 16, 1]));
    assert_eq!(line, 22);
    assert_eq!(
        reason,
        "2: its floor of 1 KiB/s does not fit: 0 KiB/s of g's 24 KiB/s are left for floors"
    );
    let (line, reason) = problem(&floors("bandwidth = { floor = 65 }", &[]));
    assert_eq!((line, reason.contains("g: its floor of 65 KiB/s does not fit")), (6, true));
    let (line, reason) = problem(&floors("", &[1]));
    assert_eq!((line, reason.contains("0 KiB/s of g's 0 KiB/s")), (10, true), "{reason}");
}

#[test]
fn where_it_is_allowed_more_guests_are_named_than_fit_at_once() {
    let group = "bandwidth = { floor = 24 }\novercommit = true";
    Configuration::parse(&floors(group, &[8, 16, 24])).unwrap();
    let (_, reason) = problem(&floors(group, &[25]));
    assert!(reason.contains("its floor of 25 KiB/s does not fit"), "{reason}");
}

#[test]
fn bandwidths_that_cannot_be_are_refused() {
    for (bandwidth, reason) in [
        ("{ average = 0 }", "invalid average: 0 bytes"),
        ("{ average = 8, peak = 4 }", "average of 8 KiB/s is above its peak of 4 KiB/s"),
        ("{ floor = 8, peak = 4 }", "floor of 8 KiB/s is above its peak of 4 KiB/s"),
    ] {
        let (line, words) = problem(&floors(&format!("bandwidth = {bandwidth}"), &[]));
        assert_eq!((line, words.contains(reason)), (6, true), "{words}");
    }
}

#[test]
fn a_shared_source_has_a_capacity_and_a_name_of_its_own() {
    let (line, reason) = problem(&SHARED.replace("average", "burst"));
    assert_eq!((line, reason.contains("the average is missing")), (2, true), "{reason}");
    for name in ["getrandom", "file:x"] {
        let (line, reason) = problem(&SHARED.replace("\"hw\"", &format!("{name:?}")));
        assert_eq!(line, 2);
        assert!(reason.ends_with("it has the form of a guest's own source"), "{reason}");
    }
    assert_eq!(problem(&SHARED.replace("\"hw\"", "\"\"")).0, 2);
}

#[test]
fn long_socket_paths_are_refused() {
    let text = guest("").replace("/run/a", &"x".repeat(108));
    assert_eq!(problem(&text).0, 3);
    let text = format!("\ncontrol-socket = \"{}\"", "x".repeat(108));
    let reason = "invalid control-socket: a path of 108 bytes; expected 1 to 107";
    assert_eq!(problem(&text), (2, reason.into()));
    Configuration::parse(&guest("").replace("/run/a", &"x".repeat(107))).unwrap();
}

#[test]
fn everything_that_is_wrong_is_said_at_once_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("guests.toml");
    std::fs::write(&path, guest("device = \"x\"\nsocket-mode = \"9\"")).unwrap();
    let shown = path.display();
    assert_eq!(
        Configuration::load(&path).unwrap_err().to_string(),
        format!(
            "{shown}:4: invalid device: \"x\"; expected one of my-rng, virtio-rng\n\
             {shown}:5: invalid socket-mode: \"9\"; expected an octal number up to 777"
        )
    );
    let missing = Configuration::load(&folder.path().join("none")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read ") && missing.ends_with("/none"), "{missing}");
}

#[test]
fn a_guest_that_cannot_be_read_hides_nothing_that_is_wrong_with_others() {
    let text = "[[guest]]\nname = \"a\"\ncolor = 1\n\
                [[guest]]\nname = \"b\"\nsocket = \"/b\"\nseed = \"x\"\ngenerator = \"dice\"\nkeep-state = 3\n\
                [[guest]]\nsocket = \"/c\"\n";
    let problems = Configuration::parse(text).unwrap_err();
    let lines: Vec<_> = problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [3, 7, 8, 9, 10], "{problems:?}");
    assert_eq!(problems[0].reason.matches("keep-state").count(), 1, "{problems:?}");
    assert_eq!(problems[3].reason, "invalid keep-state: integer `3`; expected a boolean");
}

proptest! {
    #[test]
    fn any_text_is_understood_or_refused(
        text in "(\\[\\[(guest|source|group)\\]\\]\n|(name|socket|source|parent|seed) = \"?[a-z/:0-9]*\"?\n|\\PC)*"
    ) {
        if let Err(problems) = Configuration::parse(&text) {
            prop_assert!(!problems.is_empty());
            prop_assert!(problems.iter().all(|problem| problem.line <= text.lines().count().max(1)));
        }
    }
}

/// The time that is needed for a file of so many guests.
fn time_for(guests: usize) -> std::time::Duration {
    let mut text = SHARED.to_owned();
    for index in 0..guests {
        text += &format!(
            "[[group]]\nname = \"g{index}\"\nparent = \"hw\"\n[[guest]]\nname = \"{index}\"\n\
             socket = \"/run/{index}\"\ndevice = \"virtio-rng\"\nsource = \"g{index}\"\n"
        );
    }
    let start = std::time::Instant::now();
    assert_eq!(Configuration::parse(&text).unwrap().guests.len(), guests);
    start.elapsed()
}

#[test]
fn ten_times_the_guests_need_about_ten_times_the_time() {
    let ratio = |_| time_for(5000).as_secs_f64() / time_for(500).as_secs_f64();
    // If each guest needed time in proportion to the others, it would be 100.
    let least = (0..3).map(ratio).fold(f64::INFINITY, f64::min);
    assert!(least < 30.0, "{least}");
}
