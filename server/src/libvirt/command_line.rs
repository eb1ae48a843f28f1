//! `<qemu:commandline>`: the arguments that libvirt hands on to QEMU, and ours among them.

use roxmltree::{Document, Node};
use serde_json::{Value, json};

use super::edits::Edits;
use super::layout::{Layout, Lines, raw_name};

/// libvirt's namespace for it; the prefix is the document's.
const NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";
/// The device that attaches to our server.
const DRIVER: &str = "vfio-user-pci";

/// The arguments that QEMU gets already.
pub fn arguments<'a>(document: &'a Document<'_>) -> Vec<&'a str> {
    argument_elements(document.root_element())
        .filter_map(|argument| argument.attribute("value"))
        .collect()
}

/// The elements of these arguments.
pub fn argument_elements<'a, 'input>(
    domain: Node<'a, 'input>,
) -> impl Iterator<Item = Node<'a, 'input>> {
    all(domain)
        .flat_map(|line| line.children())
        .filter(|child| child.has_tag_name((NAMESPACE, "arg")))
}

/// The sockets of the vfio-user devices among them.
pub fn sockets(arguments: &[&str]) -> Vec<String> {
    let devices = arguments.iter().filter_map(|argument| serde_json::from_str(argument).ok());
    devices
        .filter(|device: &Value| device["driver"] == DRIVER)
        .filter_map(|device| device["socket"]["path"].as_str().map(str::to_owned))
        .collect()
}

/// A `-device` of QEMU's that attaches to a server.
pub fn device(id: &str, bus: &str, slot: &str, socket: &str) -> String {
    let socket = json!({"type": "unix", "path": socket});
    json!({"driver": DRIVER, "id": id, "bus": bus, "addr": slot, "socket": socket}).to_string()
}

/// Adds devices to the arguments.
pub fn add<'a>(
    document: &'a Document<'a>,
    devices: &[String],
    layout: &Layout<'a>,
    edits: &mut Edits,
) {
    let text = document.input_text();
    let arguments = |prefix: &str, depth: usize| -> Lines {
        let values = devices.iter().flat_map(|device| ["-device", device]);
        values.map(|value| (depth, format!("<{prefix}arg value='{}'/>", escape(value)))).collect()
    };
    if let Some(existing) = all(document.root_element()).last() {
        // As the element itself is written, whatever the namespace's prefix is.
        let name = raw_name(text, existing);
        let prefix = name.strip_suffix("commandline").unwrap_or_default();
        layout.append(edits, existing, &arguments(prefix, 0));
        return;
    }
    let root = document.root_element();
    let prefix = declared_prefix(root).unwrap_or_else(|| declare(root, text, edits));
    let mut lines = vec![(0, format!("<{prefix}:commandline>"))];
    lines.extend(arguments(&format!("{prefix}:"), 1));
    lines.push((0, format!("</{prefix}:commandline>")));
    layout.append(edits, root, &lines);
}

fn all<'a, 'input>(domain: Node<'a, 'input>) -> impl Iterator<Item = Node<'a, 'input>> {
    domain.children().filter(|child| child.has_tag_name((NAMESPACE, "commandline")))
}

fn declared_prefix(root: Node<'_, '_>) -> Option<String> {
    root.namespaces()
        .find(|namespace| namespace.uri() == NAMESPACE)
        .and_then(|namespace| namespace.name().map(str::to_owned))
}

/// Declares the namespace, and returns its prefix.
fn declare(root: Node<'_, '_>, text: &str, edits: &mut Edits) -> String {
    let taken = |prefix: &str| root.namespaces().any(|named| named.name() == Some(prefix));
    let others = (1..).map(|number| format!("qemu{number}"));
    let prefix = std::iter::once("qemu".to_owned()).chain(others).find(|prefix| !taken(prefix));
    let prefix = prefix.unwrap_or_default();
    let name_end = root.range().start + 1 + raw_name(text, root).len();
    let attributes_end = root.attributes().map(|attribute| attribute.range().end).max();
    let at = attributes_end.unwrap_or(name_end);
    edits.insert(at, format!(" xmlns:{prefix}='{NAMESPACE}'"));
    prefix
}

/// Text as the value of an attribute in single quotes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str) -> String {
        let document = Document::parse(text).unwrap();
        let mut edits = Edits::default();
        add(&document, &["{}".to_owned()], &Layout::of(&document), &mut edits);
        edits.apply(text)
    }

    #[test]
    fn a_command_line_is_made_with_its_namespace() {
        assert_eq!(
            added("<domain type='kvm'>\n  <a/>\n</domain>\n"),
            "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n  <a/>\n  \
             <qemu:commandline>\n    <qemu:arg value='-device'/>\n    <qemu:arg value='{}'/>\n  \
             </qemu:commandline>\n</domain>\n"
        );
        let taken = added("<domain xmlns:qemu='urn:other'/>");
        assert!(taken.starts_with(
            "<domain xmlns:qemu1='http://libvirt.org/schemas/domain/qemu/1.0' xmlns:qemu='urn:oth"
        ));
        assert!(taken.ends_with("</qemu1:commandline></domain>"), "{taken}");
    }

    #[test]
    fn a_command_line_that_is_there_is_continued() {
        for (name, declaration) in [("q:commandline", "xmlns:q"), ("commandline", "xmlns")] {
            let arg = name.replace("commandline", "arg");
            let text = format!(
                "<domain>\n  <{name} {declaration}='{NAMESPACE}'>\n    <{arg} value='-x'/>\n  \
                 </{name}>\n</domain>"
            );
            let document = Document::parse(&text).unwrap();
            assert_eq!(arguments(&document), ["-x"]);
            let more = format!("<{arg} value='-device'/>\n    <{arg} value='{{}}'/>");
            let expected = text.replace("value='-x'/>", &format!("value='-x'/>\n    {more}"));
            assert_eq!(added(&text), expected);
            assert_eq!(arguments(&Document::parse(&expected).unwrap()), ["-x", "-device", "{}"]);
        }
    }

    #[test]
    fn a_namespace_that_is_there_is_used() {
        let text = format!("<domain xmlns:q='{NAMESPACE}'/>");
        let expected = format!(
            "<domain xmlns:q='{NAMESPACE}'><q:commandline><q:arg value='-device'/>\
             <q:arg value='{{}}'/></q:commandline></domain>"
        );
        assert_eq!(added(&text), expected);
    }

    #[test]
    fn sockets_are_those_of_vfio_user_devices() {
        let ours = device("a", "pci.0", "0x1c", "/run/a b'<&>.sock");
        let other = r#"{"driver":"e1000"}"#;
        assert_eq!(sockets(&["-device", &ours, other, "[1]", "x"]), ["/run/a b'<&>.sock"]);
        assert_eq!(escape(r#"a'b"c<d&e"#), r#"a&apos;b"c&lt;d&amp;e"#);
    }
}
