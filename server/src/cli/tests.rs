use toml::Spanned;
use toml::de::DeTable;

use crate::libvirt::configuration::{Configuration, Guest};

use super::*;

#[test]
fn the_command_line_is_consistent() {
    command().debug_assert();
}

/// Values of which each option takes one that is not its default.
const VALUES: [&str; 7] =
    ["true", "7", "0", "\"glibc\"", "\"transitional\"", "\"file:/x\"", "\"warn\""];

/// The command line's short word for `source`, which is no key of a file.
const ALIAS: &str = "filename";

fn read(factory: &DeviceFactory, line: &str) -> Result<DeviceOptions, toml::de::Error> {
    let table = DeTable::parse(line)?;
    factory.options_of_table(Spanned::new(table.span(), table.into_inner()))
}

/// The file that `libvirt` writes for a device.
fn written(device: &DeviceOptions) -> String {
    let (name, socket) = ("a".to_owned(), "/a".to_owned());
    let guest = Guest { name, socket, socket_mode: None, device: device.clone() };
    Configuration { guest: vec![guest] }.text().unwrap()
}

/// What the command line makes of an option.
fn typed(factory: &DeviceFactory, option: &str, value: &str) -> DeviceOptions {
    let option = match value {
        "true" => format!("--{option}"),
        _ => format!("--{option}={}", value.trim_matches('"')),
    };
    let line = ["my-rng-server", "--socket-path=s", "--device", factory.name, &option];
    let matches = command().try_get_matches_from(line).unwrap();
    Arguments::from_matches(&matches).unwrap().device_options.unwrap()
}

#[test]
fn each_option_means_the_same_on_the_command_line_in_the_file_and_in_what_libvirt_writes() {
    for factory in devices::ALL {
        let default = read(factory, "").unwrap();
        let mut options = factory.option_names();
        options.retain(|option| option != ALIAS);
        for option in &options {
            let understood = VALUES.iter().find_map(|value| {
                let device = read(factory, &format!("{option} = {value}")).ok()?;
                (device != default).then_some((value, device))
            });
            let (value, device) = understood.unwrap_or_else(|| panic!("the file has no {option}"));
            assert_eq!(typed(factory, option, value), device, "{option}");
            let text = written(&device);
            assert!(text.contains(&format!("\n{option} = {value}\n")), "{option}: {text}");
            assert_eq!(default.fixed_keys_that_differ(&device).len(), {
                let changeable = ["source", "file-loop", "health", "max-bytes", "period"];
                usize::from(!changeable.contains(&option.as_str()))
            });
        }
        let unknown = read(factory, "color = 1").unwrap_err();
        let (_, known) = unknown.message().split_once(" expected ").unwrap();
        let mut known: Vec<_> = known.split('`').skip(1).step_by(2).collect();
        known.sort_unstable();
        options.sort_unstable();
        assert_eq!(known, options);
    }
}

#[test]
fn the_default_of_a_device_is_that_of_the_command_line() {
    for factory in devices::ALL {
        let line = ["my-rng-server", "--socket-path=s", "--device", factory.name];
        let matches = command().try_get_matches_from(line).unwrap();
        let typed = Arguments::from_matches(&matches).unwrap().device_options;
        assert_eq!(typed, Some(read(factory, "").unwrap()));
    }
}
