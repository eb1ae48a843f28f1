//! Whole domains, right ones and wrong ones.

use proptest::prelude::*;

use super::*;

fn wishes(teaching: bool) -> Wishes<'static> {
    Wishes { socket_dir: Path::new("/run/rng"), socket_mode: None, teaching }
}

fn converted(text: &str) -> Conversion {
    convert(text, &wishes(false)).unwrap_or_else(|error| panic!("{error:#}"))
}

fn refused(text: &str) -> String {
    format!("{:#}", convert(text, &wishes(false)).unwrap_err())
}

const WEB: &str = "\
<?xml version='1.0'?>
<!-- kept under version control -->
<domain type='kvm' id=\"3\">
  <name>web1</name>
  <memory unit='GiB'>1</memory>
  <os><type arch='x86_64' machine='pc-q35-9.2'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <rng model='virtio'>
      <rate bytes='123' period='1234'/>
      <backend model='random'>/dev/hwrng</backend>
      <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>
    </rng>
    <memballoon model='none'/>
  </devices>
</domain>
";

#[test]
fn a_domain_is_attached_and_nothing_else_changes() {
    let conversion = converted(WEB);
    let device = r#"{"addr":"0x1c","bus":"pcie.0","driver":"vfio-user-pci","id":"my-rng-server-0x1c","socket":{"path":"/run/rng/web1.sock","type":"unix"}}"#;
    let expected = WEB
        .replace(
            "<domain type='kvm' id=\"3\">",
            "<domain type='kvm' id=\"3\" \
             xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>",
        )
        .replace(
            "</memory>\n",
            "</memory>\n  <memoryBacking>\n    <source type='memfd'/>\n    \
             <access mode='shared'/>\n  </memoryBacking>\n",
        )
        .replace(&WEB[WEB.find("    <rng").unwrap()..WEB.find("    <memballoon").unwrap()], "")
        .replace(
            "</devices>\n",
            &format!(
                "</devices>\n  <qemu:commandline>\n    <qemu:arg value='-device'/>\n    \
                 <qemu:arg value='{device}'/>\n  </qemu:commandline>\n"
            ),
        );
    assert_eq!(conversion.domain, expected);
    assert_eq!(conversion.name, "web1");
    assert!(conversion.left_out.is_empty());
    let [guest] = &conversion.guests[..] else { panic!("{:?}", conversion.guests) };
    assert_eq!((guest.name.as_str(), guest.socket.as_str()), ("web1", "/run/rng/web1.sock"));
    let expected = VirtioRngOptions {
        source: "file:/dev/hwrng".parse().unwrap(),
        max_bytes: Some("123".parse().unwrap()),
        period: "1234".parse().unwrap(),
        ..VirtioRngOptions::default()
    };
    assert_eq!(guest.device, expected.into());
}

#[test]
fn a_converted_domain_needs_no_change() {
    let once = converted(WEB);
    let twice = converted(&once.domain);
    assert!(twice.guests.is_empty());
    assert_eq!(twice.attached, ["/run/rng/web1.sock"]);
    assert_eq!(twice.domain, once.domain);
}

#[test]
fn each_generator_has_a_name_and_a_slot() {
    let rng = "<rng model='virtio'><backend model='builtin'/></rng>";
    let text = WEB.replace("    <memballoon", &format!("    {rng}\n    {rng}\n    <memballoon"));
    let both = convert(&text, &wishes(true)).unwrap();
    let names: Vec<&str> = both.guests.iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(names, ["web1", "web1-1", "web1-2", "web1-teaching"]);
    assert_eq!(both.guests[3].device, MyRngOptions::default().into());
    for slot in ["0x1c", "0x19", "0x18", "0x17"] {
        assert_eq!(both.domain.matches(&format!("\"addr\":\"{slot}\"")).count(), 1, "{slot}");
    }
    assert!(convert(&both.domain, &wishes(true)).unwrap().guests.is_empty());
    // One more, later.
    let later = both.domain.replace("    <memballoon", &format!("    {rng}\n    <memballoon"));
    let later = convert(&later, &wishes(true)).unwrap();
    assert_eq!(later.guests.len(), 1);
    assert_eq!(later.guests[0].name, "web1-3");
    assert_eq!(later.domain.matches("<qemu:commandline>").count(), 1);
    assert_eq!(later.domain.matches("0x16").count(), 2, "in the address and the name");
}

#[test]
fn the_interface_is_qemus_on_the_same_bus() {
    let interface = |machine: &str, model: &str, driver: &str| {
        let text = WEB
            .replace("pc-q35-9.2", machine)
            .replace("model='virtio'>", &format!("model='{model}'>{driver}"));
        match converted(&text).guests.remove(0).device {
            DeviceOptions::VirtioRng(options) => options.virtio.name(),
            DeviceOptions::MyRng(_) => panic!("it is an entropy device"),
        }
    };
    assert_eq!(interface("q35", "virtio", ""), "modern");
    assert_eq!(interface("pc", "virtio", ""), "transitional");
    assert_eq!(interface("pc", "virtio", "<driver iommu='on'/>"), "modern");
    assert_eq!(interface("pc", "virtio-non-transitional", ""), "modern");
    assert_eq!(interface("q35", "virtio-transitional", ""), "transitional");
}

#[test]
fn only_a_domain_for_qemu_is_taken() {
    for (text, expected) in [
        ("<domain", "this is not well-formed XML"),
        ("<domain>\n<a></b></domain>", "expected 'a' tag, not 'b' at 2:4"),
        ("<!DOCTYPE a [<!ENTITY x 'y'>]><domain/>", "this is not well-formed XML"),
        ("<network/>", "line 1: <network>: this is not a domain definition"),
        ("<domain type='lxc'/>", "a domain of type 'lxc' is not run by QEMU"),
        ("<domain type='hvf'/>", "a domain of type 'hvf' runs on macOS"),
        ("<domain type='kvm'/>", "missing domain name"),
        ("<domain>\n <name/></domain>", "line 2: <name>: missing domain name"),
        ("<domain><name>a/b</name></domain>", "name \"a/b\" cannot contain '/'"),
        ("<domain><name>a</name></domain>", "domain a has no <rng> in its <devices>"),
        (
            &WEB.replace("pc-q35-9.2", "s390-ccw-virtio"),
            "line 6: <type>: machine 's390-ccw-virtio' has no PCI bus",
        ),
        (&WEB.replace("123", "-123"), "line 10: <rate>: invalid RNG rate bytes value: '-123'"),
        (&WEB.replace("web1", &"w".repeat(100)), "choose a shorter folder by --socket-dir"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_template_is_not_a_domain() {
    for name in ["{{ name }}", "vm-{{id}}", "@@ name @@", "@NAME@", "${NAME}", "{% x %}"] {
        let error = refused(&WEB.replace("web1", name));
        let expected = format!("line 4: <name>: {name:?} has a placeholder of a template");
        assert!(error.starts_with(&expected), "{error}");
    }
    for name in ["a@b", "a@b@c", "{web}", "100%", "$web", "@a"] {
        assert_eq!(converted(&WEB.replace("web1", name)).name, name);
    }
}

#[test]
fn a_second_definition_in_the_file_is_told() {
    for between in ["", "\n", "<!-- the other -->\n", "\n<?xml version='1.0'?>\n"] {
        let error =
            refused(&format!("{WEB}{between}{}", WEB.replace("<?xml version='1.0'?>\n", "")));
        assert!(error.contains("give each <domain> a file of its own"), "{between:?}: {error}");
    }
    let error = refused(&format!("{}<domain/>", WEB.trim_end()));
    assert!(error.starts_with("line 16: another element begins"), "{error}");
    // What else is wrong is told as it was.
    let error = refused(&format!("{WEB}garbage"));
    assert!(error.contains("is not well-formed XML"), "{error}");
}

#[test]
fn a_legacy_interface_in_a_big_endian_guest_is_refused() {
    let text = |arch: &str, model: &str| {
        WEB.replace(
            "arch='x86_64' machine='pc-q35-9.2'",
            &format!("arch='{arch}' machine='pseries'"),
        )
        .replace("model='virtio'>", &format!("model='{model}'>"))
    };
    for model in ["virtio", "virtio-transitional"] {
        let error = refused(&text("ppc64", model));
        assert!(
            error.starts_with("line 9: <rng>: the legacy interface has the guest's"),
            "{error}"
        );
        assert_eq!(converted(&text("ppc64le", model)).guests.len(), 1);
    }
    assert_eq!(converted(&text("ppc64", "virtio-non-transitional")).guests.len(), 1);
}

#[test]
fn an_intel_iommu_is_told_to_tell() {
    let text = WEB.replace("    <memballoon", "    <iommu model='intel'/>\n    <memballoon");
    let conversion = converted(&text);
    assert!(
        conversion.domain.contains(
            "    <iommu model='intel'>\n      <driver caching_mode='on'/>\n    </iommu>\n"
        )
    );
    let [note] = &conversion.notes[..] else { panic!("{:?}", conversion.notes) };
    assert!(note.starts_with("line 14: <iommu>: caching_mode='on' is set"), "{note}");
    assert!(converted(&conversion.domain).notes.is_empty());
}

#[test]
fn generators_of_others_are_left_alone() {
    let text = WEB.replace("<rng model", "<x:rng xmlns:x='urn:x'/>\n    <rng model");
    assert!(converted(&text).domain.contains("<x:rng xmlns:x='urn:x'/>\n    <memballoon"));
    let metadata = "<metadata><rng model='none'/></metadata>\n  <os>";
    let text = WEB.replace("<os>", metadata);
    assert!(converted(&text).domain.contains(metadata));
}

#[test]
fn the_name_is_written_as_it_has_to_be() {
    let text = WEB.replace("<name>web1</name>", "<name>a'b &lt;c&gt; &amp; \"d\"<!-- x --></name>");
    let conversion = converted(&text);
    assert_eq!(conversion.name, "a'b <c> & \"d\"");
    let socket = "/run/rng/a'b <c> & \"d\".sock";
    assert_eq!(conversion.guests[0].socket, socket);
    assert_eq!(converted(&conversion.domain).attached, [socket]);
}

#[test]
fn a_byte_order_mark_stays() {
    let text = format!("\u{feff}{WEB}");
    assert_eq!(converted(&text).domain, format!("\u{feff}{}", converted(WEB).domain));
}

#[test]
fn line_ends_of_windows_stay() {
    let text = WEB.replace('\n', "\r\n");
    let domain = converted(&text).domain;
    assert_eq!(domain.matches('\n').count(), domain.matches("\r\n").count());
    assert_eq!(domain.replace("\r\n", "\n"), converted(WEB).domain);
}

fn blanks() -> impl Strategy<Value = String> {
    "[ \t]{0,3}(\r?\n[ \t]{0,5})?"
}

/// Elements of a definition wherever they may be, and where they may not.
fn trees() -> impl Strategy<Value = String> {
    let names = [
        "domain",
        "name",
        "memory",
        "memoryBacking",
        "source",
        "access",
        "cpu",
        "numa",
        "cell",
        "devices",
        "rng",
        "rate",
        "backend",
        "driver",
        "alias",
        "address",
        "os",
        "type",
        "q:commandline",
        "q:arg",
    ];
    let attributes = [
        "",
        " model='virtio'",
        " model='egd' type='unix' path='/a'",
        " bytes='1'",
        " type='pci'",
        " mode='private'",
        " memAccess='private'",
        " access='private'",
        " type='anonymous'",
        " value='addr=0x1c'",
        " xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'",
    ];
    let tag = (prop::sample::select(names.to_vec()), prop::sample::select(attributes.to_vec()));
    let leaf = prop_oneof![Just("n".to_owned()), Just("<!-- c -->".to_owned()), blanks()];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        (tag.clone(), prop::collection::vec(inner, 0..6)).prop_map(
            |((name, attribute), children)| match children.len() {
                0 => format!("<{name}{attribute}/>"),
                _ => format!("<{name}{attribute}>{}</{name}>", children.concat()),
            },
        )
    })
}

proptest! {
    #[test]
    fn any_tree_is_refused_or_converted(
        inside in prop::collection::vec(trees(), 0..6),
        devices in prop::collection::vec(trees(), 0..6),
    ) {
        let text = format!(
            "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>{}<name>n</name>\n\
             <devices>{}<rng model='virtio'><backend model='builtin'/></rng></devices></domain>",
            inside.concat(), devices.concat()
        );
        if let Ok(conversion) = convert(&text, &wishes(true)) {
            prop_assert!(!conversion.guests.is_empty());
            let again = convert(&conversion.domain, &wishes(true));
            let again = again.map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
            prop_assert!(again.guests.is_empty());
        }
    }

    #[test]
    fn damaged_definitions_are_refused_or_converted(
        cuts in prop::collection::vec((0..WEB.len(), 0..20usize, "[<>/'\"a-z=& \n]{0,4}"), 1..4)
    ) {
        let mut text = WEB.to_owned();
        for (at, length, with) in cuts {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.replace_range(at..end, &with);
        }
        if let Ok(conversion) = convert(&text, &wishes(true)) {
            let again = convert(&conversion.domain, &wishes(true));
            let again = again.map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
            prop_assert!(again.guests.is_empty());
            prop_assert_eq!(again.domain, conversion.domain);
        }
    }

    #[test]
    fn what_is_around_the_generators_stays(
        extra in prop::collection::vec("<[a-c]{1,3} [d-f]{1,3} ?=('[ -%(-;=>\"äß字]{0,9}'|\"[\t']*\") ?/>", 0..4),
        between in prop::collection::vec(blanks(), 6),
    ) {
        let extra = extra.join("\n");
        let rng = "<rng model='virtio'><backend model='builtin'/></rng>";
        let [a, b, c, d, e, f] = &between[..] else { unreachable!() };
        let memory = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>";
        let head = format!("<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'>{a}{memory}{b}<name>n</name>{extra}<devices>");
        let tail = format!("</devices>{e}<q:commandline>{extra}");
        let text = format!("{head}{c}{rng}{d}{tail}{f}</q:commandline></domain>");
        let conversion = convert(&text, &wishes(false));
        let conversion = conversion.map_err(|error| TestCaseError::fail(format!("{error:#}")))?;
        prop_assert!(conversion.domain.starts_with(&head));
        prop_assert!(conversion.domain.contains(&tail));
        prop_assert!(conversion.domain.ends_with("</q:commandline></domain>"));
        prop_assert!(!conversion.domain.contains("<rng"));
    }
}
