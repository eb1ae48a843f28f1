//! Where an `<rng>`'s bytes come from: its `<backend>` as a source of ours.

use entropy::source::{EgdAddress, Local, Specification};
use roxmltree::Node;

use super::element::{DomainError, content, filled_in, invalid, named, required};

/// libvirt's file when there is none named.
const DEFAULT_FILE: &str = "/dev/random";

/// The source that a `<backend>` describes.
///
/// # Errors
/// It describes none, or one that cannot be had here.
pub fn source(backend: Node<'_, '_>) -> Result<Specification, DomainError> {
    let source = match required(backend, "model")? {
        "random" => random(backend),
        "builtin" => Specification::Getrandom,
        "egd" => egd(backend)?,
        other => return Err(invalid(backend, "model", other, "random, egd, builtin")),
    };
    filled_in(backend, &source.to_string())?;
    // It is written to the configuration and read from there.
    if source.to_string().parse().as_ref() != Ok(&source) {
        let reason = format!("the name cannot be written as a source: {source}");
        return Err(DomainError::new(backend, reason));
    }
    Ok(source)
}

fn random(backend: Node<'_, '_>) -> Specification {
    let path = match content(backend).trim() {
        "" => DEFAULT_FILE.into(),
        path => path.into(),
    };
    Specification::File { path, repeat: false }
}

fn egd(backend: Node<'_, '_>) -> Result<Specification, DomainError> {
    let error = |reason: &str| DomainError::new(backend, reason);
    let missing = |what| error(&format!("Missing source {what} attribute for char device"));
    let kind = backend.attribute("type").ok_or_else(|| error("missing EGD backend type"))?;
    check_protocol(backend)?;
    let (address, listen) = match kind {
        "unix" => {
            let (source, listen) = stream(backend)?;
            let path = source.and_then(|source| given(source, "path"));
            (EgdAddress::Unix(path.ok_or_else(|| missing("path"))?.into()), listen)
        }
        "tcp" => {
            let (source, listen) = stream(backend)?;
            let host = source.and_then(|source| given(source, "host"));
            let host = host.ok_or_else(|| missing("host"))?.to_owned();
            let port = source.map(port).transpose()?.flatten();
            (EgdAddress::Tcp { host, port: port.ok_or_else(|| missing("service"))? }, listen)
        }
        "udp" => (udp(backend)?, false),
        other => {
            return Err(error(&format!(
                "unknown backend type '{other}' for egd: a daemon is reached over unix, tcp or udp"
            )));
        }
    };
    Ok(Specification::Egd { address, listen })
}

/// The `<source>` of a stream, and whether the daemon connects to us.
fn stream<'a, 'input>(
    backend: Node<'a, 'input>,
) -> Result<(Option<Node<'a, 'input>>, bool), DomainError> {
    let Some(source) = named(backend, "source").next() else { return Ok((None, false)) };
    if matches!(source.attribute("tls"), Some(tls) if tls != "no") {
        return Err(DomainError::new(source, "TLS cannot be had: tls='no' is all there is"));
    }
    Ok((Some(source), is_bind(source)?))
}

/// A UDP backend sends its requests to one `<source>` and can send them from the other.
fn udp(backend: Node<'_, '_>) -> Result<EgdAddress, DomainError> {
    let (mut peer, mut local) = (None, None);
    for source in named(backend, "source") {
        let place = if is_bind(source)? { &mut local } else { &mut peer };
        place.get_or_insert((source, port(source)?));
    }
    let Some((source, Some(port))) = peer else {
        return Err(DomainError::new(
            backend,
            "Missing source service attribute for char device: <source mode='connect'> names the \
             daemon",
        ));
    };
    // QEMU's default.
    let host = given(source, "host").unwrap_or("localhost").to_owned();
    let local = local.and_then(|(source, port)| {
        let host = given(source, "host").map(str::to_owned);
        (host.is_some() || port.is_some()).then(|| Local { host, port: port.unwrap_or(0) })
    });
    Ok(EgdAddress::Udp { host, port, local })
}

/// Which side a `<source>` is.
fn is_bind(source: Node<'_, '_>) -> Result<bool, DomainError> {
    match source.attribute("mode") {
        None | Some("connect") => Ok(false),
        Some("bind") => Ok(true),
        Some(other) => Err(invalid(source, "mode", other, "connect, bind")),
    }
}

/// An attribute that says something.
fn given<'a>(source: Node<'a, '_>, name: &str) -> Option<&'a str> {
    source.attribute(name).filter(|value| !value.is_empty())
}

/// The port of a `<source>`. A name of a service, which QEMU would look up, is refused.
fn port(source: Node<'_, '_>) -> Result<Option<u16>, DomainError> {
    let Some(service) = given(source, "service") else { return Ok(None) };
    let port = service.parse().ok().filter(|port| *port > 0);
    port.map(Some).ok_or_else(|| invalid(source, "service", service, "a port, 1 to 65535"))
}

/// Random bytes are sent as they are.
fn check_protocol(backend: Node<'_, '_>) -> Result<(), DomainError> {
    for protocol in named(backend, "protocol") {
        match protocol.attribute("type") {
            None | Some("raw") => {}
            Some(other) => return Err(invalid(protocol, "type", other, "raw")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    fn read(backend: &str) -> Result<String, String> {
        let document = Document::parse(backend).unwrap();
        source(document.root_element())
            .map(|source| source.to_string())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn each_form_is_a_source() {
        for (backend, expected) in [
            ("<backend model='builtin'/>", "getrandom"),
            ("<backend model='random'/>", "file:/dev/random"),
            ("<backend model='random'>/dev/hwrng</backend>", "file:/dev/hwrng"),
            ("<backend model='random'>\n  /dev/hwrng\n</backend>", "file:/dev/hwrng"),
            ("<backend model='random'>/a&amp;b<!-- c --><![CDATA[<c>]]></backend>", "file:/a&b<c>"),
            (
                "<backend model='egd' type='unix'><source path='/run/egd'/></backend>",
                "egd:unix:/run/egd",
            ),
            (
                "<backend model='egd' type='unix'><source mode='bind' path='/e'>\
                 <reconnect enabled='yes' timeout='3'/></source></backend>",
                "egd:unix:/e,listen",
            ),
            (
                "<backend model='egd' type='tcp'><source mode='connect' host='h' service='7'/>\
                 <protocol type='raw'/></backend>",
                "egd:tcp:h:7",
            ),
            (
                "<backend model='egd' type='tcp'><source mode='bind' host='::1' service='7'/>\
                 </backend>",
                "egd:tcp:[::1]:7,listen",
            ),
            (
                "<backend model='egd' type='udp'><source mode='connect' service='7'/></backend>",
                "egd:udp:localhost:7",
            ),
            (
                "<backend model='egd' type='udp'><source mode='bind' host='10.0.0.1' service='8'/>\
                 <source mode='connect' host='h' service='7'/></backend>",
                "egd:udp:h:7,local=10.0.0.1:8",
            ),
            (
                "<backend model='egd' type='udp'><source mode='bind' service='8'/>\
                 <source mode='connect' host='h' service='7'/></backend>",
                "egd:udp:h:7,local=:8",
            ),
        ] {
            assert_eq!(read(backend), Ok(expected.to_owned()), "{backend}");
        }
    }

    #[test]
    fn what_is_no_source_is_refused() {
        for (backend, expected) in [
            ("<backend/>", "Missing required attribute 'model' in element 'backend'"),
            (
                "<backend model='y'/>",
                "Invalid value for attribute 'model' in element 'backend': 'y'.",
            ),
            ("<backend model='egd'/>", "missing EGD backend type"),
            ("<backend model='egd' type='pty'/>", "unknown backend type 'pty' for egd"),
            ("<backend model='egd' type='unix'/>", "Missing source path attribute for char device"),
            (
                "<backend model='egd' type='tcp'><source service='7'/></backend>",
                "Missing source host attribute for char device",
            ),
            (
                "<backend model='egd' type='tcp'><source host='h'/></backend>",
                "Missing source service attribute for char device",
            ),
            (
                "<backend model='egd' type='tcp'><source host='h' service='http'/></backend>",
                "Invalid value for attribute 'service' in element 'source': 'http'. Possible here: \
                 a port, 1 to 65535",
            ),
            (
                "<backend model='egd' type='tcp'><source host='h' service='7' tls='yes'/></backend>",
                "TLS cannot be had",
            ),
            (
                "<backend model='egd' type='tcp'><source host='h' service='7'/>\
                 <protocol type='telnet'/></backend>",
                "Invalid value for attribute 'type' in element 'protocol': 'telnet'.",
            ),
            (
                "<backend model='egd' type='udp'><source mode='bind' service='7'/></backend>",
                "Missing source service attribute for char device",
            ),
            (
                "<backend model='egd' type='unix'><source mode='q' path='/a'/></backend>",
                "Invalid value for attribute 'mode' in element 'source': 'q'.",
            ),
            (
                "<backend model='random'>/dev/{{ device }}</backend>",
                "\"file:/dev/{{ device }}\" has a placeholder of a template",
            ),
            (
                "<backend model='egd' type='tcp'><source host='@@HOST@@' service='7'/></backend>",
                "has a placeholder of a template",
            ),
            (
                "<backend model='egd' type='unix'><source path='/a,listen'/></backend>",
                "the name cannot be written as a source: egd:unix:/a,listen",
            ),
        ] {
            let error = read(backend).unwrap_err();
            assert!(error.starts_with("line 1: <"), "{error}");
            assert!(error.contains(expected), "{backend}: {error}");
        }
    }
}
