//! What an `<rng>` of a domain says.

use std::time::Duration;

use entropy::limiter::Limit;
use entropy::source::Specification;
use roxmltree::Node;

use super::backend;
use super::element::{DomainError, invalid, line, named, required};

/// libvirt's period when there is none named, in milliseconds.
const DEFAULT_PERIOD: u32 = 1000;

/// A random number generator of a domain.
#[derive(Debug, PartialEq, Eq)]
pub struct Rng {
    /// Its virtio interface.
    pub model: Model,
    /// Whether it has a packed virtqueue.
    pub packed: bool,
    /// Whether it is behind a virtual IOMMU.
    pub iommu: bool,
    /// Where its bytes come from.
    pub source: Specification,
    /// How many of them the guest may have.
    pub rate: Option<Limit>,
    /// The name that the user has given to the device.
    pub alias: Option<String>,
    /// What it says and our device has not, for the user.
    pub left_out: Vec<String>,
}

/// Its virtio interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// The one that fits the bus.
    Virtio,
    /// The legacy interface, too.
    Transitional,
    /// The modern one alone.
    NonTransitional,
}

impl Rng {
    /// Reads an `<rng>`.
    ///
    /// # Errors
    /// It is none of libvirt's, or has what cannot be served.
    pub fn read(rng: Node<'_, '_>) -> Result<Self, DomainError> {
        let model = match required(rng, "model")? {
            "virtio" => Model::Virtio,
            "virtio-transitional" => Model::Transitional,
            "virtio-non-transitional" => Model::NonTransitional,
            other => {
                let possible = "virtio, virtio-transitional, virtio-non-transitional";
                return Err(invalid(rng, "model", other, possible));
            }
        };
        check_address(rng)?;
        let backend = the_backend(rng)?;
        let driver = named(rng, "driver").next();
        let on = |name| driver.is_some_and(|driver| driver.attribute(name) == Some("on"));
        let (packed, iommu) = (on("packed"), on("iommu"));
        if let (true, Model::Transitional, Some(driver)) = (iommu, model, driver) {
            let reason = "a driver of the legacy interface knows no IOMMU: iommu='on' needs \
                          <rng model='virtio-non-transitional'>";
            return Err(DomainError::new(driver, reason));
        }
        let alias = named(rng, "alias").find_map(|alias| alias.attribute("name"));
        let alias = alias.filter(|name| is_users_alias(name));
        Ok(Rng {
            model,
            packed,
            iommu,
            source: backend::source(backend)?,
            rate: rate(rng)?,
            alias: alias.map(str::to_owned),
            left_out: left_out(rng),
        })
    }
}

/// The one `<backend>`. libvirt has the same words for none and for two.
fn the_backend<'a, 'input>(rng: Node<'a, 'input>) -> Result<Node<'a, 'input>, DomainError> {
    let mut backends = named(rng, "backend");
    match (backends.next(), backends.next()) {
        (Some(backend), None) => Ok(backend),
        (Some(_), Some(second)) => {
            Err(DomainError::new(second, "only one RNG backend is supported"))
        }
        (None, _) => Err(DomainError::new(
            rng,
            "it has no <backend>, and needs one, such as <backend model='builtin'/> (libvirt: only \
             one RNG backend is supported)",
        )),
    }
}

/// Whether libvirt keeps an alias and names the device by it. Others it replaces by its own.
pub fn is_users_alias(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    name.starts_with("ua-") && name.bytes().all(allowed)
}

/// Whether an alias is one that libvirt gives to a device by itself.
fn is_libvirts_alias(name: &str) -> bool {
    let number = name.strip_prefix("rng").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// The `<rate>`.
fn rate(rng: Node<'_, '_>) -> Result<Option<Limit>, DomainError> {
    let mut rates = named(rng, "rate");
    let Some(rate) = rates.next() else { return Ok(None) };
    if let Some(second) = rates.next() {
        return Err(DomainError::new(second, "an <rng> has one <rate>"));
    }
    let bytes = positive(rate, "bytes", required(rate, "bytes")?)?;
    let period = rate.attribute("period").map(|period| positive(rate, "period", period));
    let period = Duration::from_millis(period.transpose()?.unwrap_or(DEFAULT_PERIOD).into());
    let limit = Limit::new(bytes.into(), period);
    limit.map(Some).map_err(|error| DomainError::new(rate, error.to_string()))
}

/// A number as libvirt's schema has it. Its parser takes 0 and signs as well, and 0 as no limit.
fn positive(rate: Node<'_, '_>, name: &str, value: &str) -> Result<u32, DomainError> {
    let digits = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse().ok().filter(|number| digits && *number > 0);
    number.ok_or_else(|| {
        let reason = format!(
            "invalid RNG rate {name} value: '{value}' is not a number from 1 to {}",
            u32::MAX
        );
        DomainError::new(rate, reason)
    })
}

/// A device of ours goes to a PCI bus, and to no other.
fn check_address(rng: Node<'_, '_>) -> Result<(), DomainError> {
    for address in named(rng, "address") {
        if let Some(kind) = address.attribute("type").filter(|kind| *kind != "pci") {
            return Err(invalid(address, "type", kind, "pci, which is what vfio-user has"));
        }
    }
    Ok(())
}

/// What is understood in an `<rng>`: the elements in an element, and its attributes.
const KNOWN: &[(&str, &[&str], &[&str])] = &[
    ("rng", &["rate", "backend", "driver", "alias", "address"], &["model"]),
    ("rate", &[], &["bytes", "period"]),
    ("backend", &["source", "protocol"], &["model", "type"]),
    ("source", &[], &["mode", "path", "host", "service", "tls"]),
    ("protocol", &[], &["type"]),
    ("driver", &[], &["packed", "iommu"]),
    ("alias", &[], &["name"]),
];

/// What our device has no use for, wherever it is in an `<rng>`.
fn left_out(rng: Node<'_, '_>) -> Vec<String> {
    let mut left_out = Vec::new();
    for element in rng.descendants().filter(Node::is_element) {
        let name = element.tag_name().name();
        let Some((_, children, attributes)) = KNOWN.iter().find(|(known, ..)| *known == name)
        else {
            continue;
        };
        for child in element.children().filter(Node::is_element) {
            let child_name = child.tag_name().name();
            if !children.contains(&child_name) {
                left_out.push(format!("line {}: <{child_name}>", line(child)));
            }
        }
        for attribute in element.attributes() {
            let (key, value) = (attribute.name(), attribute.value());
            let ignored = name == "alias" && !is_users_alias(value) && !is_libvirts_alias(value);
            if !attributes.contains(&key) || ignored {
                left_out.push(format!("line {}: <{name} {key}='{value}'>", line(element)));
            }
        }
    }
    left_out
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn read(inside: &str) -> Result<Rng, String> {
        let text = format!("<rng model='virtio'>{inside}<backend model='builtin'/></rng>");
        let document = Document::parse(&text).unwrap();
        Rng::read(document.root_element()).map_err(|error| error.to_string())
    }

    fn refused(text: &str) -> String {
        let document = Document::parse(text).unwrap();
        Rng::read(document.root_element()).unwrap_err().to_string()
    }

    fn limit(bytes: u32, milliseconds: u32) -> Limit {
        Limit::new(bytes.into(), Duration::from_millis(milliseconds.into())).unwrap()
    }

    #[test]
    fn a_rate_has_bytes_and_a_period() {
        let rate = |text: &str| read(text).unwrap().rate;
        assert_eq!(rate(""), None);
        let expected = Some(limit(123, 1234));
        assert_eq!(rate("<rate bytes='123' period='1234'/>"), expected);
        assert_eq!(rate("<rate bytes='0007'/>"), Some(limit(7, 1000)));
        let expected = Some(limit(u32::MAX, 1));
        assert_eq!(rate("<rate period='1' bytes='4294967295'></rate>"), expected);
    }

    #[test]
    fn a_rate_without_meaning_is_refused() {
        for (text, expected) in [
            ("<rate/>", "Missing required attribute 'bytes' in element 'rate'"),
            ("<rate period='5'/>", "Missing required attribute 'bytes' in element 'rate'"),
            ("<rate bytes='x'/>", "invalid RNG rate bytes value: 'x' is not a number from 1 to"),
            ("<rate bytes=''/>", "invalid RNG rate bytes value"),
            ("<rate bytes='0'/>", "invalid RNG rate bytes value"),
            ("<rate bytes='-1'/>", "invalid RNG rate bytes value"),
            ("<rate bytes='+1'/>", "invalid RNG rate bytes value"),
            ("<rate bytes='4294967296'/>", "invalid RNG rate bytes value"),
            ("<rate bytes='1' period='0'/>", "invalid RNG rate period value"),
            ("<rate bytes='1' period='1s'/>", "invalid RNG rate period value"),
            ("<rate bytes='1'/>\n<rate bytes='2'/>", "line 2: <rate>: an <rng> has one <rate>"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn models_are_libvirts() {
        let model = |name: &str| {
            let text = format!("<rng model='{name}'><backend model='builtin'/></rng>");
            let document = Document::parse(&text).unwrap();
            Rng::read(document.root_element()).map(|rng| rng.model).map_err(|e| e.to_string())
        };
        assert_eq!(model("virtio"), Ok(Model::Virtio));
        assert_eq!(model("virtio-transitional"), Ok(Model::Transitional));
        assert_eq!(model("virtio-non-transitional"), Ok(Model::NonTransitional));
        assert!(model("x").unwrap_err().contains("attribute 'model' in element 'rng': 'x'."));
        let nameless = refused("<rng><backend model='builtin'/></rng>");
        assert_eq!(nameless, "line 1: <rng>: Missing required attribute 'model' in element 'rng'");
    }

    #[test]
    fn there_is_one_backend() {
        let none = refused("<rng model='virtio'/>");
        assert!(none.starts_with("line 1: <rng>: it has no <backend>, and needs one"), "{none}");
        assert!(none.contains("only one RNG backend is supported"), "libvirt's words: {none}");
        let two = read("\n<backend model='random'/>").unwrap_err();
        assert_eq!(two, "line 2: <backend>: only one RNG backend is supported");
    }

    #[test]
    fn driver_options_are_taken_or_named() {
        let rng = read("<driver packed='on' iommu='on' ats='on'/><acpi index='3'/>").unwrap();
        assert!(rng.packed && rng.iommu);
        assert_eq!(rng.left_out, ["line 1: <acpi>", "line 1: <driver ats='on'>"]);
        let plain = read("<driver packed='off'/><alias name='rng0'/>").unwrap();
        assert!(!plain.packed && !plain.iommu && plain.alias.is_none());
        assert_eq!(plain.left_out, [""; 0]);
    }

    #[test]
    fn an_alias_is_kept_if_libvirt_keeps_it() {
        let mine = read("<alias name='ua-Mine_1-b'/>").unwrap();
        assert_eq!((mine.alias.as_deref(), mine.left_out.len()), (Some("ua-Mine_1-b"), 0));
        for name in ["ua-a b", "ua-ä", "ua-a.b", "mine", "rng", "rng0x"] {
            let rng = read(&format!("\n<alias name='{name}'/>")).unwrap();
            assert_eq!(rng.alias, None);
            assert_eq!(rng.left_out, [format!("line 2: <alias name='{name}'>")]);
        }
    }

    #[test]
    fn what_our_device_has_not_is_named_wherever_it_is() {
        let text = "<rng model='virtio' odd='1'>\n<rate bytes='1' burst='2'/>\n\
                    <backend model='egd' type='unix'>\n<source path='/a' mode='connect'>\n\
                    <reconnect enabled='yes' timeout='10'/></source>\n\
                    <log file='/l'/></backend><x:y xmlns:x='urn:x'/></rng>";
        let document = Document::parse(text).unwrap();
        let rng = Rng::read(document.root_element()).unwrap();
        assert_eq!(
            rng.left_out,
            [
                "line 6: <y>",
                "line 1: <rng odd='1'>",
                "line 2: <rate burst='2'>",
                "line 6: <log>",
                "line 5: <reconnect>"
            ]
        );
    }

    #[test]
    fn what_is_not_on_a_pci_bus_is_refused() {
        let error = read("<address type='ccw' cssid='0xfe' ssid='0x0' devno='0x0000'/>");
        let error = error.unwrap_err();
        assert!(error.contains("attribute 'type' in element 'address': 'ccw'."), "{error}");
        let error = refused(
            "<rng model='virtio-transitional'><driver iommu='on'/><backend model='builtin'/></rng>",
        );
        assert!(error.contains("knows no IOMMU"), "{error}");
    }
}
