//! Guest memory that the server can map: a file in memory (memfd), shared.
//!
//! What a domain says already stays if it can be shared: hugepages can, and so can files.

use roxmltree::Node;

use super::edits::Edits;
use super::element::named;
use super::layout::{Layout, Lines};

const SOURCE: &str = "<source type='memfd'/>";
const ACCESS: &str = "<access mode='shared'/>";

/// Makes a domain's memory shared.
pub fn share<'a>(domain: Node<'_, 'a>, layout: &Layout<'a>, edits: &mut Edits) {
    match named(domain, "memoryBacking").next() {
        Some(backing) => merge(backing, layout, edits),
        None => add(domain, layout, edits),
    }
    // These say otherwise for a part of it.
    let numa = named(domain, "cpu").flat_map(|cpu| named(cpu, "numa"));
    for cell in numa.flat_map(|numa| named(numa, "cell")) {
        change(cell, "memAccess", "private", "shared", edits);
    }
    for module in named(domain, "devices").flat_map(|devices| named(devices, "memory")) {
        // Of an nvdimm it says whether the file keeps what the guest writes.
        if matches!(module.attribute("model"), Some("dimm" | "virtio-mem")) {
            change(module, "access", "private", "shared", edits);
        }
    }
}

fn merge<'a>(backing: Node<'_, 'a>, layout: &Layout<'a>, edits: &mut Edits) {
    let mut missing = Lines::new();
    match named(backing, "source").next() {
        Some(source) => change(source, "type", "anonymous", "memfd", edits),
        // Without a source, hugepages are files already.
        None if named(backing, "hugepages").next().is_some() => {}
        None => missing.push((0, SOURCE.to_owned())),
    }
    match named(backing, "access").next() {
        Some(access) => change(access, "mode", "private", "shared", edits),
        None => missing.push((0, ACCESS.to_owned())),
    }
    if !missing.is_empty() {
        layout.append(edits, backing, &missing);
    }
}

fn add<'a>(domain: Node<'_, 'a>, layout: &Layout<'a>, edits: &mut Edits) {
    let lines = vec![
        (0, "<memoryBacking>".to_owned()),
        (1, SOURCE.to_owned()),
        (1, ACCESS.to_owned()),
        (0, "</memoryBacking>".to_owned()),
    ];
    // Where libvirt itself puts it.
    let neighbour =
        ["currentMemory", "memory", "name"].into_iter().find_map(|name| named(domain, name).next());
    match neighbour {
        Some(neighbour) => layout.insert_after(edits, neighbour, &lines),
        None => layout.append(edits, domain, &lines),
    }
}

/// Gives an attribute another value, if it has this one.
fn change(element: Node<'_, '_>, name: &str, from: &str, to: &str, edits: &mut Edits) {
    let attribute = element.attribute_node(name).filter(|attribute| attribute.value() == from);
    if let Some(attribute) = attribute {
        edits.replace(attribute.range_value(), to);
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn shared(text: &str) -> String {
        let document = Document::parse(text).unwrap();
        let mut edits = Edits::default();
        share(document.root_element(), &Layout::of(&document), &mut edits);
        edits.apply(text)
    }

    #[test]
    fn memory_is_shared_where_nothing_is_said() {
        assert_eq!(
            shared("<domain>\n  <memory>1</memory>\n  <os/>\n</domain>"),
            "<domain>\n  <memory>1</memory>\n  <memoryBacking>\n    <source type='memfd'/>\n    \
             <access mode='shared'/>\n  </memoryBacking>\n  <os/>\n</domain>"
        );
    }

    #[test]
    fn what_is_said_is_kept_if_it_can_be_shared() {
        for (before, after) in [
            (
                "<source type='memfd'/><access mode='shared'/>",
                "<source type='memfd'/><access mode='shared'/>",
            ),
            ("<source type='file'/>", "<source type='file'/><access mode='shared'/>"),
            ("<hugepages/><locked/>", "<hugepages/><locked/><access mode='shared'/>"),
            ("<nosharepages/>", "<nosharepages/><source type='memfd'/><access mode='shared'/>"),
            (
                "<access mode=\"private\"/><source type='anonymous'/>",
                "<access mode=\"shared\"/><source type='memfd'/>",
            ),
            ("<access mode='&#112;rivate'/>", "<access mode='shared'/><source type='memfd'/>"),
        ] {
            let domain =
                |inside: &str| format!("<domain><memoryBacking>{inside}</memoryBacking></domain>");
            assert_eq!(shared(&domain(before)), domain(after));
        }
        assert_eq!(
            shared("<domain>\n  <memoryBacking/>\n</domain>"),
            "<domain>\n  <memoryBacking>\n    <source type='memfd'/>\n    \
             <access mode='shared'/>\n  </memoryBacking>\n</domain>"
        );
    }

    #[test]
    fn parts_of_the_memory_are_shared_too() {
        let before = "<domain><memoryBacking><source type='memfd'/><access mode='shared'/>\
            </memoryBacking><cpu><numa><cell id='0' memAccess='private'/><cell id='1'/></numa></cpu>\
            <devices><memory model='dimm' access='private'/>\
            <memory model='nvdimm' access='private'/></devices></domain>";
        let after = before
            .replace("memAccess='private'", "memAccess='shared'")
            .replace("'dimm' access='private'", "'dimm' access='shared'");
        assert_eq!(shared(before), after);
        assert_eq!(shared(&after), after);
    }
}
