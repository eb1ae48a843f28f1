//! Profiles, right and wrong.

use super::*;

fn error(text: &str) -> String {
    let error = Profile::parse(text, Path::new("mine.toml")).expect_err("it is wrong");
    format!("{error:#}")
}

#[test]
fn the_published_profile_is_what_the_device_and_its_driver_say() {
    let profile = Profile::published().expect("it is a profile");
    assert_eq!((profile.device.vendor, profile.device.device), (0x1234, 0xcafe));
    let random = profile.ioctl(IoctlKind::Random).expect("there is one");
    assert_eq!(random.number, 0x8004_7101);
    assert_eq!(profile.seed_register().expect("there is one").offset, 4);
    assert_eq!(profile.points("driver-random"), 15);
    assert_eq!(profile.points("device-register-MODE"), 1);
}

#[test]
fn an_error_names_the_file_the_line_and_the_word() {
    let text = PUBLISHED.replace("revision = 0x10", "revison = 0x10");
    let error = error(&text);
    assert!(error.contains("mine.toml is no profile"), "{error}");
    assert!(error.contains("unknown field `revison`"), "{error}");
    assert!(error.contains("line 15"), "{error}");
}

#[test]
fn registers_have_to_fit() {
    let text = PUBLISHED.replace("offset = 0x4\n", "offset = 0x6\n");
    assert!(error(&text).contains("register SEED: a width of 1, 2 or 4 bytes at a multiple"));
    let text = PUBLISHED.replace("offset = 0x4\n", "offset = 0x0\n");
    assert!(error(&text).contains("overlaps another one"));
    let text = PUBLISHED.replace("offset = 0x4\n", "offset = 0x1000\n");
    assert!(error(&text).contains("register SEED at 0x1000 is beyond the BAR's end"));
    let half = "[[register]]\nname = \"HALF\"\noffset = 0x8\nwidth = 4\nkind = \"high-half\"\n";
    assert!(error(&format!("{PUBLISHED}{half}")).contains("register HALF: its lower half"));
}

#[test]
fn ioctls_name_registers_that_are_there_and_their_own_size() {
    let text = PUBLISHED.replace("registers = [\"SEED\"]", "registers = [\"SED\"]");
    assert!(error(&text).contains("ioctl MY_RNG_IOCTL_SEED: there is no register SED"));
    let text = PUBLISHED.replace("0x40047101\nsize = 4", "0x40047101\nsize = 8");
    assert!(error(&text).contains("a size of 4 or 8 that 0x40047101 has in it (4)"));
}
#[test]
fn a_profile_can_require_parts() {
    let published = Profile::published().expect("it is a profile");
    assert!(published.hand_in.required.is_empty());
    assert_eq!(published.points_of(Part::Driver), 100);
    let text = format!("{PUBLISHED}\n[hand-in]\nrequired = [\"driver\", \"app\"]\n");
    let profile = Profile::parse(&text, Path::new("mine.toml")).expect("it is a profile");
    assert_eq!(profile.hand_in.required, [Part::Driver, Part::App]);
}

#[test]
fn the_profiles_that_come_along_are_right_and_worth_100_points_a_part() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles");
    for name in ["my_rng", "my_rng-strict", "random64", "number64", "mode"] {
        let path = folder.join(format!("{name}.toml"));
        let profile = Profile::read(&path).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(profile.name, name);
        let source = profile.device.source.as_ref();
        assert!(source.is_none_or(|source| source.is_file()), "{name}");
        for part in [Part::Driver, Part::App, Part::Device] {
            assert_eq!(profile.points_of(part), 100, "{name}, {part}");
        }
    }
}

#[test]
fn only_a_seed_can_say_what_it_reads_as() {
    let text = PUBLISHED.replace("kind = \"random\"\nregisters", "kind = \"random\"\n registers");
    let text = text.replacen("kind = \"random\"\n", "kind = \"random\"\nreads = \"zero\"\n", 1);
    assert!(error(&text).contains("register RANDOM: only one of kind seed has `reads`"), "{text}");
}
