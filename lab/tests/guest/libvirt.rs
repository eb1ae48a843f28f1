//! Domains of the real libvirt, before and after `my-rng-server libvirt`.

use std::fs;
use std::time::Duration;

use entropy::limiter::Limit;
use lab::agent::Agent;
use lab::{RunDir, paths};
use my_rng_server::config::{Configuration, GuestSource};
use serde_json::Value;

use crate::{left_out_beside_pcs, say};

mod session;

use session::{AGENT, HOME, INITRAMFS, KERNEL, Session};

/// How long a command in the guest may take.
const COMMAND: Duration = Duration::from_secs(60);

/// A domain that boots the lab's guest, with devices.
fn domain(machine: &str, devices: &str) -> String {
    format!(
        "<domain type='qemu'>
  <!-- the guest of a test -->
  <name>web1</name>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{KERNEL}</kernel>
    <initrd>{INITRAMFS}</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 iomem=relaxed</cmdline>
  </os>
  <features><acpi/></features>
  <cpu mode='maximum'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='file'><source path='{HOME}/console.log'/><target port='0'/></serial>
    <serial type='unix'><source mode='connect' path='{HOME}/{AGENT}'/><target port='1'/></serial>
    {devices}
  </devices>
</domain>
"
    )
}

/// Writes a file of the user's.
fn write(run: &RunDir, name: &str, contents: impl AsRef<[u8]>) {
    fs::write(run.path().join(name), contents).expect("the run's folder is writable");
}

/// Runs a command in the guest that has to succeed.
fn in_guest(agent: &mut Agent, command: &str) -> String {
    let output = agent.run(command, COMMAND).expect("the guest answers");
    assert_eq!(output.status, 0, "{command}: {}", output.text);
    output.text
}

/// The commands of the documentation. The last one, here by itself, starts the domain.
fn documented() -> (Vec<String>, String) {
    let text = fs::read_to_string(paths::checkout().join("docs/libvirt.md")).expect("it is there");
    let block = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let mut lines: Vec<String> =
        block.expect("a block of commands").lines().map(str::to_owned).collect();
    let last = lines.pop().expect("it has commands");
    assert!(last.starts_with("virsh start "), "{last}");
    (lines, last)
}

/// Takes a domain from its definition to the running guest by the documented commands.
fn convert_and_start(session: &mut Session, run: &RunDir, definition: &str) -> Agent {
    write(run, "original.xml", definition);
    session.run("virsh define --validate original.xml").expect("libvirt takes the original");
    let (commands, start) = documented();
    for command in &commands {
        say(command);
        session.run(command).unwrap_or_else(|error| panic!("{error:#}"));
    }
    session.run("virt-xml-validate web1.vfio-user.xml").expect("it is what libvirt's schema asks");
    say(&start);
    session.start_domain(&start).unwrap_or_else(|error| {
        panic!("{error:#}\n{}\n{}", run.tail("console.log"), run.tail("server.log"))
    })
}

/// Bytes of which every piece of 16 tells where it is from.
fn numbered() -> Vec<u8> {
    (0..1u32 << 16).flat_map(|number| (number | 0xa500_0000).to_be_bytes()).collect()
}

/// Boots a guest of that machine with an `<rng>` of that model, which has to find the device of
/// that identity.
fn a_guest_reads_our_source(machine: &str, model: &str, identity: &str) {
    let run = RunDir::create(&format!("libvirt-{machine}-{model}")).expect("a run can be made");
    let mut session = Session::start(&run).expect("libvirt starts");
    let entropy = numbered();
    write(&run, "entropy", &entropy);
    let rng = format!(
        "<rng model='{model}'><driver packed='on'/><rate bytes='4096' period='1000'/>\
         <backend model='random'>{HOME}/entropy</backend></rng>"
    );
    let mut guest = convert_and_start(&mut session, &run, &domain(machine, &rng));
    let current = in_guest(&mut guest, "cat /sys/class/misc/hw_random/rng_current");
    assert!(current.starts_with("virtio_rng"), "{current}");
    let read = "dd if=/dev/hwrng bs=16 count=1 2>/dev/null | xxd -p";
    let bytes = in_guest(&mut guest, read);
    let bytes: Vec<u8> = (0..bytes.trim().len() / 2)
        .map(|at| u8::from_str_radix(&bytes[2 * at..2 * at + 2], 16).expect("xxd prints hex"))
        .collect();
    assert_eq!(bytes.len(), 16);
    assert!(entropy.windows(16).any(|piece| piece == bytes), "{bytes:02x?} is not of the file");
    let devices = in_guest(&mut guest, "lspci -n");
    let ours: Vec<&str> = devices.lines().filter(|line| line.contains(identity)).collect();
    assert_eq!(ours.len(), 1, "{devices}");
    assert!(ours[0].starts_with("00:1c.0"), "{devices}");
    say("converting what libvirt has made of the definition");
    session.run("virsh dumpxml --inactive web1 >again.xml").expect("libvirt knows the domain");
    let again = session.run("my-rng-server libvirt again.xml").expect("so do we");
    assert!(again.contains("no change needed"), "{again}");
    session.run("virsh destroy web1").expect("it can be stopped");
    session.run("virsh undefine web1").expect("it can be removed");
}

#[test]
fn a_guest_of_libvirt_reads_our_source_on_pci_express() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    a_guest_reads_our_source("q35", "virtio", "1af4:1044");
}

#[test]
fn a_guest_of_libvirt_reads_our_source_on_pci() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    a_guest_reads_our_source("pc", "virtio", "1af4:1005");
}

#[test]
fn a_guest_of_libvirt_reads_our_source_of_a_transitional_device() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    a_guest_reads_our_source("q35", "virtio-transitional", "1af4:1005");
}

#[test]
fn a_guest_of_libvirt_behind_an_intel_iommu_reads_our_source() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    let run = RunDir::create("libvirt-iommu").expect("a run can be made");
    let mut session = Session::start(&run).expect("libvirt starts");
    let devices = "<rng model='virtio'><backend model='builtin'/></rng><iommu model='intel'/>";
    // Debian's kernel switches the IOMMU on by itself.
    let mut guest = convert_and_start(&mut session, &run, &domain("q35", devices));
    let groups = in_guest(&mut guest, "ls /sys/kernel/iommu_groups | wc -l");
    assert_ne!(groups.trim(), "0", "the guest uses its IOMMU");
    let bytes = in_guest(&mut guest, "dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c");
    assert_eq!(bytes.trim(), "64");
}

#[test]
fn a_guest_of_libvirt_has_the_teaching_device() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    let run = RunDir::create("libvirt-teaching").expect("a run can be made");
    let mut session = Session::start(&run).expect("libvirt starts");
    write(&run, "web1.xml", domain("q35", ""));
    for command in [
        "mkdir my-rng-server",
        "my-rng-server libvirt --teaching web1.xml",
        "my-rng-server --config web1.toml &",
        "virsh define --validate web1.vfio-user.xml",
    ] {
        session.run(command).unwrap_or_else(|error| panic!("{error:#}"));
    }
    let mut guest = session.start_domain("virsh start web1").expect("the guest boots");
    let lspci = in_guest(&mut guest, "lspci -v -d 1234:cafe");
    let base = lspci.split("Memory at ").nth(1).and_then(|rest| rest.split(' ').next());
    let base = base.unwrap_or_else(|| panic!("no memory in {lspci}"));
    let mut number = || in_guest(&mut guest, &format!("devmem 0x{base} 32"));
    let numbers = [number(), number(), number()];
    assert!(numbers[0] != numbers[1] && numbers[1] != numbers[2], "{numbers:?}");
}

#[test]
fn the_memory_of_any_domain_is_shared() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    let run = RunDir::create("libvirt-memory").expect("a run can be made");
    let mut session = Session::start(&run).expect("libvirt starts");
    let cells = "<cpu><numa>\
                 <cell id='0' cpus='0' memory='128' unit='MiB' memAccess='private'/>\
                 <cell id='1' cpus='1' memory='128' unit='MiB'/></numa></cpu>";
    for (backing, cpu) in [
        ("", ""),
        ("<memoryBacking/>", ""),
        ("<memoryBacking>\n<nosharepages/></memoryBacking>", ""),
        ("<memoryBacking><source type='anonymous'/></memoryBacking>", ""),
        ("<memoryBacking><access mode='private'/></memoryBacking>", ""),
        ("<memoryBacking><source type='file'/><access mode='private'/></memoryBacking>", ""),
        ("<memoryBacking><source type='memfd'/></memoryBacking>", cells),
    ] {
        let rng = "<rng model='virtio'><backend model='builtin'/></rng>";
        let mut text = domain("q35", rng).replace("  <os>", &format!("  {backing}\n  <os>"));
        if !cpu.is_empty() {
            text = text.replace("<cpu mode='maximum'/>", cpu);
            text = text.replace("  <os>", "  <vcpu>2</vcpu>\n  <os>");
        }
        write(&run, "web1.xml", text);
        let mut run = |command: &str| {
            session.run(command).unwrap_or_else(|error| panic!("{backing}: {error:#}"))
        };
        run("my-rng-server libvirt --force web1.xml");
        run("virt-xml-validate web1.vfio-user.xml");
        let native = run("virsh domxml-to-native qemu-argv web1.vfio-user.xml");
        let backends: Vec<Value> = objects(&native)
            .filter(|object| object["qom-type"].as_str().is_some_and(|t| t.contains("memory")))
            .collect();
        assert_eq!(backends.len(), if cpu.is_empty() { 1 } else { 2 }, "{native}");
        for backend in &backends {
            assert_eq!(backend["share"], true, "{backing}: {backend}");
            assert_ne!(backend["qom-type"], "memory-backend-ram", "{backing}: {backend}");
        }
    }
}

/// The options of QEMU's own virtio-rng in a command line that libvirt has made.
fn virtio_rng_options(arguments: &str) -> Value {
    objects(arguments)
        .find(|value| value["driver"].as_str().is_some_and(|name| name.starts_with("virtio-rng")))
        .unwrap_or_else(|| panic!("no virtio-rng in {arguments}"))
}

/// The JSON objects in a command line.
fn objects(arguments: &str) -> impl Iterator<Item = Value> + '_ {
    arguments.split('\'').filter_map(|word| serde_json::from_str(word).ok())
}

#[test]
fn limits_are_those_that_libvirt_gives_to_qemu() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    let run = RunDir::create("libvirt-limits").expect("a run can be made");
    let mut session = Session::start(&run).expect("libvirt starts");
    for (rate, expected) in [
        ("<rate bytes='123' period='1234'/>", Some((123, 1234))),
        ("<rate bytes='5000'/>", Some((5000, 1000))),
        ("", None),
    ] {
        let rng =
            format!("<rng model='virtio'>{rate}<backend model='random'>/dev/hwrng</backend></rng>");
        write(&run, "web1.xml", domain("pc", &rng));
        let native = session.run("virsh domxml-to-native qemu-argv web1.xml");
        let theirs = virtio_rng_options(&native.expect("libvirt understands the domain"));
        let theirs = theirs["max-bytes"].as_u64().zip(theirs["period"].as_u64());
        assert_eq!(theirs, expected, "{rate}");
        let convert = "my-rng-server libvirt --force web1.xml";
        session.run(convert).expect("we understand the domain");
        session.run("my-rng-server --config web1.toml --check-config").expect("it is right");
        let ours = Configuration::load(&run.path().join("web1.toml")).expect("it is right");
        let [guest] = &ours.guests[..] else { panic!("{ours:?}") };
        let expected = expected.map(|(bytes, period)| {
            Limit::new(bytes, Duration::from_millis(period)).expect("there is such a limit")
        });
        assert_eq!(guest.limit(), expected, "{rate}");
        let GuestSource::Own(source) = &guest.source else { panic!("{guest:?}") };
        assert_eq!(source.to_string(), "file:/dev/hwrng");
    }
}

#[test]
fn what_libvirt_refuses_is_refused_in_its_words() {
    if left_out_beside_pcs("the domains are PCs") {
        return;
    }
    let run = RunDir::create("libvirt-refused").expect("a run can be made");
    let session = Session::start(&run).expect("libvirt starts");
    let (backend, alias) = ("<backend model='random'/>", "<alias name='ua-a'/>");
    for rng in [
        &format!("<rng model='virtio'><rate bytes='x'/>{backend}</rng>"),
        &format!("<rng model='virtio'><rate bytes='-1'/>{backend}</rng>"),
        &format!("<rng model='virtio'><rate bytes='4294967296'/>{backend}</rng>"),
        &format!("<rng model='virtio'><rate bytes='1' period='1s'/>{backend}</rng>"),
        &format!("<rng>{backend}</rng>"),
        &format!("<rng model='x'>{backend}</rng>"),
        "<rng model='virtio'/>",
        &format!("<rng model='virtio'>{backend}{backend}</rng>"),
        &format!(
            "<rng model='virtio'>{backend}{alias}</rng><rng model='virtio'>{backend}{alias}</rng>"
        ),
        "<rng model='virtio'><backend/></rng>",
        "<rng model='virtio'><backend model='y'/></rng>",
        "<rng model='virtio'><backend model='egd'/></rng>",
        "<rng model='virtio'><backend model='egd' type='zz'/></rng>",
        "<rng model='virtio'><backend model='egd' type='unix'/></rng>",
        "<rng model='virtio'><backend model='egd' type='unix'><source mode='q'/></backend></rng>",
        "<rng model='virtio'><backend model='egd' type='tcp'><source service='1'/></backend></rng>",
        "<rng model='virtio'><backend model='egd' type='tcp'><source host='h'/></backend></rng>",
        "<rng model='virtio'><backend model='egd' type='udp'>\
         <source mode='bind' host='h' service='1'/></backend></rng>",
    ] {
        write(&run, "web1.xml", domain("pc", rng));
        let said = |command: &str| {
            let outcome = session.try_run(command).expect("it runs");
            assert!(!outcome.end.success(), "{command}, {rng}: {}", outcome.text());
            outcome.text()
        };
        let theirs = said("virsh domxml-to-native qemu-argv web1.xml");
        let ours = said("my-rng-server libvirt web1.xml");
        // "error: XML error: the reason"
        let reason = theirs.trim().splitn(3, ": ").nth(2).expect("libvirt gives a reason");
        assert!(ours.contains(reason.trim_end_matches('.')), "{rng}:\n{theirs}{ours}");
        assert!(ours.contains("web1.xml: line 17: <"), "{rng}: {ours}");
    }
}
