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
    assert!(error(&text).contains("register SEED: a width of 1, 2, 4 or 8 bytes at a multiple"));
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
    for name in ["my_rng", "my_rng-strict", "random64", "number64", "mode", "interrupt", "dma"] {
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

#[test]
fn bits_that_writes_clear_are_set_by_something() {
    let text = |rest: &str| {
        format!(
            "{PUBLISHED}[[register]]\nname = \"STATUS\"\noffset = 0x8\nwidth = 8\n\
             kind = \"write-one-to-clear\"\n{rest}"
        )
    };
    let by = |register: &str| format!("set-by = {{ register = \"{register}\", value = 1 }}\n");
    let profile = Profile::parse(&text(&by("SEED")), Path::new("mine.toml")).expect("it is right");
    let status = profile.register("STATUS").expect("it is there");
    assert_eq!((status.bits(), status.range()), (u64::MAX, 0x8..0x10));
    assert!(error(&text("")).contains("register STATUS: what sets the bits that a write clears?"));
    assert!(error(&text(&by("SED"))).contains("register STATUS: set-by: there is no register SED"));
    let text = text(&by("SEED")).replace("write-one-to-clear", "value");
    assert!(error(&text).contains("only one of kind write-one-to-clear has `set-by`"));
}

#[test]
fn all_mistakes_are_said_at_once_and_unknown_checks_are_named() {
    let text = PUBLISHED.replace("offset = 0x4\n", "offset = 0x6\n");
    let text = text.replace("registers = [\"SEED\"]", "registers = [\"SED\"]");
    let text = text.replace("device-reset = 10", "device-rest = 10");
    let error = error(&text);
    for words in
        ["register SEED: a width", "no register SED", "[points] device-rest: no such check"]
    {
        assert!(error.contains(words), "no {words:?} in {error}");
    }
}

#[test]
fn a_profile_that_extends_another_says_only_what_is_different() {
    let text = "extends = \"my_rng\"\nname = \"mine\"\n[device]\nrevision = 0x11\n\
        [[register]]\nname = \"MODE\"\noffset = 0x8\nwidth = 4\nkind = \"value\"\n\
        [[register]]\nname = \"SEED\"\noffset = 0xc\nwidth = 4\nkind = \"seed\"\n\
        [points]\ndevice-register-MODE = 7\n";
    let profile = Profile::parse(text, Path::new("mine.toml")).expect("it is a profile");
    let published = Profile::published().expect("it is one");
    assert_eq!((profile.name.as_str(), profile.device.revision), ("mine", Some(0x11)));
    assert_eq!(profile.device.bar_size, published.device.bar_size);
    assert_eq!(profile.registers.len(), 3);
    assert_eq!(profile.register("SEED").expect("it is there").offset, 0xc);
    assert_eq!((profile.points("device-register-MODE"), profile.points("driver-random")), (7, 15));
    let absent = text.replace("\"my_rng\"", "\"absent.toml\"");
    assert!(error(&absent).contains("absent.toml; expected \"my_rng\" or a file"));
    assert!(error(&text.replace("revision", "revison")).contains("unknown field `revison`"));
}

#[test]
fn interrupts_and_transfers_name_registers_that_are_there() {
    let with = |rest: &str| {
        let text = format!(
            "extends = \"my_rng\"\nname = \"mine\"\n[[register]]\nname = \"STATUS\"\noffset = 0x8\n\
             width = 4\nkind = \"other\"\n{rest}"
        );
        Profile::parse(&text, Path::new("mine.toml"))
    };
    let write = "{ register = \"STATUS\", value = 1 }";
    let interrupt = format!(
        "[[interrupt]]\nname = \"READY\"\nkind = \"msi-x\"\nvector = 3\nraised-by = {write}\n\
         acknowledged-by = {write}\n"
    );
    let transfer = format!(
        "[[dma]]\nname = \"FILL\"\ndestination = [\"STATUS\"]\nlength = \"STATUS\"\n\
         started-by = {write}\ndone = {write}\nacknowledged-by = {write}\n"
    );
    let profile = with(&format!("{interrupt}{transfer}")).expect("it is right");
    assert_eq!(profile.interrupts[0].kind, InterruptKind::MsiX);
    assert_eq!((profile.transfers[0].bytes, profile.transfers[0].interrupt), (256, None));
    let known = crate::checks::ids(&profile);
    assert!(known.iter().any(|id| id == "device-interrupt-READY"), "{known:?}");
    assert!(known.iter().any(|id| id == "device-dma-FILL"), "{known:?}");
    let mistakes = |text: String| format!("{:#}", with(&text).expect_err("it is wrong"));
    let error = mistakes(interrupt.replace("msi-x", "intx"));
    assert!(error.contains("interrupt READY: invalid vector 3"), "{error}");
    let error = mistakes(
        interrupt.replace("raised-by = { register = \"STATUS", "raised-by = { register = \"STAT"),
    );
    assert!(error.contains("interrupt READY: raised-by: there is no register STAT"), "{error}");
    let error = mistakes(transfer.replace("[\"STATUS\"]", "[]") + "bytes = 12\n");
    for words in ["dma FILL: an address has one register", "dma FILL: invalid bytes 12"] {
        assert!(error.contains(words), "no {words:?} in {error}");
    }
}
