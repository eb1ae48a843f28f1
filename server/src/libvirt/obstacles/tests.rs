//! Each obstacle, and what is like it and does no harm.

use roxmltree::Document;

use super::*;

const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";

fn checked(text: &str) -> Result<Vec<String>, String> {
    let document = Document::parse(text).unwrap();
    check(document.root_element()).map_err(|error| error.to_string())
}

/// A domain with an option of QEMU's, the value of which is in line 3.
fn with_option(name: &str, value: &str) -> Result<Vec<String>, String> {
    let value = value.replace('"', "&quot;");
    checked(&format!(
        "<domain xmlns:q='{NAMESPACE}'><q:commandline>\n<q:arg value='{name}'/>\n\
         <q:arg value='{value}'/></q:commandline></domain>"
    ))
}

#[test]
fn a_guest_whose_memory_is_protected_is_refused() {
    for kind in ["sev", "sev-snp", "tdx", "s390-pv"] {
        let text = format!("<domain>\n<launchSecurity type='{kind}'/></domain>");
        let error = checked(&text).unwrap_err();
        let expected =
            format!("line 2: <launchSecurity>: the memory of this guest is protected ('{kind}')");
        assert!(error.starts_with(&expected), "{error}");
    }
    for (name, value) in [
        ("-object", "sev-guest,id=sev0,cbitpos=47"),
        ("-object", r#"{"qom-type":"tdx-guest","id":"tdx0"}"#),
        ("-machine", "q35,confidential-guest-support=sev0"),
        ("-M", "memory-encryption=sev0"),
    ] {
        let error = with_option(name, value).unwrap_err();
        assert!(
            error.starts_with("line 3: <arg>: the memory of this guest is protected"),
            "{error}"
        );
    }
}

#[test]
fn a_hypervisor_without_such_devices_is_refused() {
    for (kind, expected) in [
        ("hvf", "a domain of type 'hvf' runs on macOS"),
        ("xen", "a domain of type 'xen' is not run by QEMU"),
    ] {
        let error = checked(&format!("<domain type='{kind}'/>")).unwrap_err();
        assert!(error.starts_with(&format!("line 1: <domain>: {expected}")), "{error}");
    }
    for kind in ["kvm", "qemu"] {
        assert_eq!(checked(&format!("<domain type='{kind}'/>")), Ok(vec![]));
    }
}

#[test]
fn private_memory_of_the_command_line_is_refused() {
    for value in [
        "memory-backend-ram,id=m0,size=1G",
        "memory-backend-ram,id=m0,share=off",
        "memory-backend-file,size=1G,mem-path=/dev/shm/a,id=m0",
        "memory-backend-memfd,id=m0,share=off",
        "qom-type=memory-backend-ram,id=m0",
        r#"{"qom-type":"memory-backend-memfd","id":"m0","share":false}"#,
        r#"{"qom-type":"memory-backend-ram","id":"m0"}"#,
    ] {
        let error = with_option("-object", value).unwrap_err();
        assert!(error.starts_with("line 3: <arg>: the memory object m0 is private"), "{error}");
    }
    for value in [
        "memory-backend-ram,id=m0,share=on",
        "memory-backend-file,id=m0,mem-path=/a,share=yes",
        "memory-backend-memfd,id=m0",
        "memory-backend-shm,id=m0",
        r#"{"qom-type":"memory-backend-file","id":"m0","share":true}"#,
        "rng-random,id=r0,filename=/dev/urandom",
        "iothread,id=i0",
    ] {
        assert_eq!(with_option("-object", value), Ok(vec![]), "{value}");
    }
    assert!(with_option("-mem-path", "/dev/hugepages").is_err());
}

#[test]
fn memory_that_the_command_line_chooses_is_named() {
    for (name, value) in [
        ("-machine", "memory-backend=m0"),
        ("--machine", "q35,memory-backend=m0"),
        ("-M", r#"{"type":"q35","memory-backend":"m0"}"#),
    ] {
        let notes = with_option(name, value).unwrap();
        let [note] = &notes[..] else { panic!("{notes:?}") };
        assert!(note.starts_with("line 3: the guest's memory is the object m0 here"), "{note}");
    }
    assert_eq!(with_option("-machine", "q35,usb=off"), Ok(vec![]));
}

#[test]
fn one_name_for_two_devices_is_refused() {
    let text = |first: &str, second: &str| {
        format!(
            "<domain xmlns:q='{NAMESPACE}'><devices>\n<rng><alias name='{first}'/></rng>\n\
             <disk><alias name='{second}'/></disk></devices></domain>"
        )
    };
    let error = checked(&text("ua-a", "ua-a")).unwrap_err();
    assert_eq!(error, "line 3: <alias>: non unique alias detected: ua-a");
    // libvirt gives others of its own.
    for (first, second) in [("ua-a", "ua-b"), ("x", "x"), ("ua-ä", "ua-ä")] {
        assert_eq!(checked(&text(first, second)), Ok(vec![]));
    }
    for device in [
        "e1000,id=ua-a",
        r#"{&quot;driver&quot;:&quot;e1000&quot;,&quot;id&quot;:&quot;ua-a&quot;}"#,
    ] {
        let option = format!(
            "</devices><q:commandline><q:arg value='-device'/><q:arg value='{device}'/>\
             </q:commandline>"
        );
        let error = checked(&text("ua-a", "ua-b").replace("</devices>", &option)).unwrap_err();
        assert_eq!(error, "line 2: <alias>: non unique alias detected: ua-a");
    }
}

#[test]
fn an_iommu_that_does_not_tell_what_it_maps_is_refused() {
    let iommu = |text: &str| checked(&format!("<domain><devices>\n{text}</devices></domain>"));
    let error = iommu("<iommu model='smmuv3'/>").unwrap_err();
    assert!(error.starts_with("line 2: <iommu>: QEMU attaches no vfio-user device"), "{error}");
    for model in ["intel", "amd", "virtio"] {
        assert_eq!(iommu(&format!("<iommu model='{model}'/>")), Ok(vec![]));
    }
    for value in ["intel-iommu", "intel-iommu,intremap=on", "intel-iommu,caching-mode=off"] {
        let error = with_option("-device", value).unwrap_err();
        assert!(error.starts_with("line 3: <arg>: QEMU ends while the guest boots"), "{error}");
    }
    for value in
        ["intel-iommu,caching-mode=on", r#"{"driver":"intel-iommu","caching-mode":true}"#, "e1000"]
    {
        assert_eq!(with_option("-device", value), Ok(vec![]), "{value}");
    }
}

#[test]
fn an_intel_iommu_gets_caching_mode() {
    for (before, after) in [
        ("<iommu model='intel'/>", "<iommu model='intel'><driver caching_mode='on'/></iommu>"),
        (
            "<iommu model='intel'><driver intremap='on'/></iommu>",
            "<iommu model='intel'><driver caching_mode='on' intremap='on'/></iommu>",
        ),
        (
            "<iommu model='intel'><driver caching_mode=\"off\"></driver></iommu>",
            "<iommu model='intel'><driver caching_mode=\"on\"></driver></iommu>",
        ),
        (
            "<iommu model='intel'><alias name='iommu0'/></iommu>",
            "<iommu model='intel'><alias name='iommu0'/><driver caching_mode='on'/></iommu>",
        ),
        (
            "<iommu model='intel'><driver caching_mode='on'/></iommu>",
            "<iommu model='intel'><driver caching_mode='on'/></iommu>",
        ),
        ("<iommu model='amd'/>", "<iommu model='amd'/>"),
        ("<iommu model='virtio'/>", "<iommu model='virtio'/>"),
    ] {
        let text = format!("<domain><devices>{before}</devices></domain>");
        let document = Document::parse(&text).unwrap();
        let mut edits = Edits::default();
        let layout = Layout::of(&document);
        let notes = set_caching_mode(document.root_element(), &layout, &mut edits);
        assert_eq!(edits.apply(&text), format!("<domain><devices>{after}</devices></domain>"));
        assert_eq!(notes.len(), usize::from(before != after), "{notes:?}");
    }
}
