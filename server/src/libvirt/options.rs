//! The options among QEMU's arguments, as `<qemu:commandline>` hands them on, and their values:
//! `kind,key=value,...` or JSON.

use std::collections::BTreeMap;

use roxmltree::Node;
use serde_json::Value;

use super::command_line::argument_elements;

/// An option of QEMU's command line with its value.
#[derive(Debug)]
pub struct QemuOption<'a, 'input> {
    /// The element of the value, for messages.
    pub element: Node<'a, 'input>,
    /// The option's name without its dashes.
    pub name: &'a str,
    value: &'a str,
}

/// The options of a domain; what follows each is taken for its value.
pub fn options<'a, 'input>(domain: Node<'a, 'input>) -> Vec<QemuOption<'a, 'input>> {
    let arguments: Vec<(Node, &str)> = argument_elements(domain)
        .filter_map(|element| Some((element, element.attribute("value")?)))
        .collect();
    arguments
        .windows(2)
        .filter_map(|pair| {
            let name = pair[0].1.strip_prefix('-')?;
            let name = name.strip_prefix('-').unwrap_or(name);
            Some(QemuOption { element: pair[1].0, name, value: pair[1].1 })
        })
        .collect()
}

impl QemuOption<'_, '_> {
    /// The value's parts. What stands first without a key has this one.
    pub fn properties(&self, first: &str) -> Properties {
        if let Ok(Value::Object(object)) = serde_json::from_str(self.value) {
            let text = |value: Value| match value {
                Value::String(text) => text,
                Value::Bool(true) => "on".to_owned(),
                Value::Bool(false) => "off".to_owned(),
                other => other.to_string(),
            };
            return Properties(object.into_iter().map(|(key, value)| (key, text(value))).collect());
        }
        // Two commas are one in a value.
        let value = self.value.replace(",,", "\0");
        let parts = value.split(',').enumerate().map(|(at, part)| {
            let part = part.replace('\0', ",");
            match part.split_once('=') {
                Some((key, value)) => (key.to_owned(), value.to_owned()),
                None if at == 0 => (first.to_owned(), part),
                // As QEMU reads a key alone.
                None => match part.strip_prefix("no") {
                    Some(key) => (key.to_owned(), "off".to_owned()),
                    None => (part, "on".to_owned()),
                },
            }
        });
        Properties(parts.collect())
    }
}

/// The parts of an option's value.
#[derive(Debug)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// What a key has.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// Whether a key is switched on, if it is there.
    pub fn on(&self, key: &str) -> Option<bool> {
        self.get(key).map(|value| ["on", "yes", "true", "y"].contains(&value))
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    #[test]
    fn a_value_is_a_list_or_json() {
        let text = "<domain xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'><q:commandline>
            <q:arg value='--object'/><q:arg value='memory-backend-ram,id=a,,b,share,noprealloc'/>
            <q:arg value='-object'/><q:arg value='{\"qom-type\":\"x\",\"share\":true,\"size\":1}'/>
            <q:arg value='-S'/></q:commandline></domain>";
        let document = Document::parse(text).unwrap();
        let options = options(document.root_element());
        let objects: Vec<Properties> = options
            .iter()
            .filter(|option| option.name == "object")
            .map(|option| option.properties("qom-type"))
            .collect();
        let [list, json] = &objects[..] else { panic!("{objects:?}") };
        assert_eq!(list.get("qom-type"), Some("memory-backend-ram"));
        assert_eq!(list.get("id"), Some("a,b"));
        assert_eq!((list.on("share"), list.on("prealloc")), (Some(true), Some(false)));
        assert_eq!(list.on("other"), None);
        assert_eq!((json.get("qom-type"), json.on("share")), (Some("x"), Some(true)));
        assert_eq!(json.get("size"), Some("1"));
        assert_eq!(options[0].element.range(), {
            let mut elements = argument_elements(document.root_element());
            elements.nth(1).unwrap().range()
        });
    }
}
