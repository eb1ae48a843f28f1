//! A domain definition, and what becomes of it.

use std::path::Path;

use anyhow::{Context, Result, bail};
use my_rng_server::devices::DeviceOptions;
use my_rng_server::devices::my_rng::MyRngOptions;
use my_rng_server::devices::virtio_rng::VirtioRngOptions;
use roxmltree::{Document, Node};
use virtio_device::Interface;

use super::command_line;
use super::configuration::Guest;
use super::edits::Edits;
use super::element::{DomainError, content, filled_in, named};
use super::layout::Layout;
use super::pci::{Bus, FreeSlots};
use super::rng::{Model, Rng};
use super::{memory, obstacles};

/// The bytes that the path of a Unix socket can have.
const MAX_SOCKET_PATH_LEN: usize = 107;

/// What the user wants beside the domain's own generators, and where.
#[derive(Debug)]
pub struct Wishes<'a> {
    /// The folder of the sockets.
    pub socket_dir: &'a Path,
    /// Permissions of the sockets, unless only the server's user may connect.
    pub socket_mode: Option<&'static str>,
    /// Whether the domain gets a teaching device.
    pub teaching: bool,
}

/// A converted domain.
#[derive(Debug)]
pub struct Conversion {
    /// The domain's name.
    pub name: String,
    /// What the server has to serve; nothing when the domain has all that is wished already.
    pub guests: Vec<Guest>,
    /// The domain with its devices attached.
    pub domain: String,
    /// The sockets that it was attached to before.
    pub attached: Vec<String>,
    /// What was left out, for the user.
    pub left_out: Vec<String>,
    /// What else the user has to know.
    pub notes: Vec<String>,
}

/// Converts a domain.
///
/// # Errors
/// It is not a domain definition, or has a device that cannot be served.
pub fn convert(text: &str, wishes: &Wishes) -> Result<Conversion> {
    let document = parse(text)?;
    let domain = document.root_element();
    check(domain)?;
    let mut notes = obstacles::check(domain)?;
    let name = name(domain)?;
    let arguments = command_line::arguments(&document);
    let attached = command_line::sockets(&arguments);
    let rngs: Vec<Node> =
        named(domain, "devices").flat_map(|devices| named(devices, "rng")).collect();
    let bus = Bus::of(domain)?;
    let mut new = Devices {
        wishes,
        name: &name,
        bus,
        big_endian: is_big_endian(domain),
        slots: FreeSlots::of(domain, &arguments),
        attached: &attached,
        guests: Vec::new(),
        arguments: Vec::new(),
    };
    let mut left_out = Vec::new();
    for node in &rngs {
        let rng = Rng::read(*node)?;
        left_out.extend(rng.left_out.iter().cloned());
        new.add_rng(*node, &rng)?;
    }
    if wishes.teaching {
        new.add_teaching()?;
    }
    let (guests, devices) = (new.guests, new.arguments);
    if guests.is_empty() && attached.is_empty() {
        bail!(
            "domain {name} has no <rng> in its <devices>: there is nothing to serve. Add one, such \
             as <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>, or give \
             it the teaching device by --teaching"
        );
    }
    let mut edits = Edits::default();
    if !guests.is_empty() {
        let layout = Layout::of(&document);
        rngs.iter().for_each(|rng| layout.remove(&mut edits, *rng));
        memory::share(domain, &layout, &mut edits);
        notes.extend(obstacles::set_caching_mode(domain, &layout, &mut edits));
        command_line::add(&document, &devices, &layout, &mut edits);
    }
    Ok(Conversion { domain: edits.apply(text), name, guests, attached, left_out, notes })
}

/// What is added to a domain.
struct Devices<'a> {
    wishes: &'a Wishes<'a>,
    name: &'a str,
    bus: Bus,
    big_endian: bool,
    slots: FreeSlots,
    attached: &'a [String],
    guests: Vec<Guest>,
    arguments: Vec<String>,
}

impl Devices<'_> {
    fn add_rng(&mut self, element: Node<'_, '_>, rng: &Rng) -> Result<()> {
        let interface = match (rng.model, self.bus) {
            (Model::Transitional, _) => Interface::Transitional,
            // As QEMU decides; the legacy interface knows no IOMMU.
            (Model::Virtio, Bus::Pci) if !rng.iommu => Interface::Transitional,
            (Model::Virtio | Model::NonTransitional, _) => Interface::Modern,
        };
        if self.big_endian && interface == Interface::Transitional {
            let reason = "the legacy interface has the guest's byte order, which is big endian \
                          here, and the server has little endian alone: it needs \
                          <rng model='virtio-non-transitional'>";
            return Err(DomainError::new(element, reason).into());
        }
        let device = VirtioRngOptions {
            virtio: interface,
            packed: rng.packed,
            source: rng.source.clone(),
            max_bytes: rng.rate.map(|rate| rate.max_bytes),
            period: rng.rate.map(|rate| rate.period).unwrap_or_default(),
            ..VirtioRngOptions::default()
        };
        let numbered = (1..).map(|number| format!("{}-{number}", self.name));
        let mut names = std::iter::once(self.name.to_owned()).chain(numbered);
        let name = names.find(|name| !self.is_taken(name)).unwrap_or_default();
        self.add(name, device.into(), rng.alias.clone())
    }

    fn add_teaching(&mut self) -> Result<()> {
        let name = format!("{}-teaching", self.name);
        if self.is_taken(&name) {
            Ok(())
        } else {
            self.add(name, MyRngOptions::default().into(), None)
        }
    }

    fn add(&mut self, name: String, device: DeviceOptions, alias: Option<String>) -> Result<()> {
        let socket = self.wishes.socket_dir.join(format!("{name}.sock")).display().to_string();
        if socket.len() > MAX_SOCKET_PATH_LEN {
            bail!(
                "the path of a socket has room for {MAX_SOCKET_PATH_LEN} bytes, and {socket} has {}: \
                 choose a shorter folder by --socket-dir",
                socket.len()
            );
        }
        let slot = self.slots.next().context(
            "the domain's first PCI bus has no free slot from 0x10 to 0x1c for another device",
        )?;
        let id = alias.unwrap_or_else(|| format!("my-rng-server-{}", slot));
        self.arguments.push(command_line::device(&id, self.bus.name(), &slot, &socket));
        let socket_mode = self.wishes.socket_mode;
        self.guests.push(Guest { name, socket, socket_mode, device });
        Ok(())
    }

    fn is_taken(&self, name: &str) -> bool {
        let file = format!("{name}.sock");
        let has = |socket: &str| Path::new(socket).file_name().is_some_and(|n| n == file.as_str());
        let ours = self.guests.iter().any(|guest| guest.name == name);
        ours || self.attached.iter().any(|socket| has(socket))
    }
}

/// Reads a document, which has one definition.
fn parse(text: &str) -> Result<Document<'_>> {
    let error = match Document::parse(text) {
        Ok(document) => return Ok(document),
        Err(error) => error,
    };
    // Where the first definition ends, the text should.
    let place = error.pos();
    let line_start = text.split_inclusive('\n').take(place.row as usize - 1).map(str::len).sum();
    let rest: &str = text.get(line_start..).unwrap_or_default();
    let column = rest.char_indices().nth(place.col as usize - 1).map_or(0, |(at, _)| at);
    let (before, behind) = text.split_at(line_start + column);
    if behind.starts_with('<') && Document::parse(before).is_ok() {
        bail!(
            "line {}: another element begins behind the end of the first one: give each <domain> a \
             file of its own",
            place.row
        );
    }
    Err(error).context("this is not well-formed XML")
}

/// Checks that this is a domain.
fn check(domain: Node<'_, '_>) -> Result<(), DomainError> {
    if domain.tag_name().name() != "domain" {
        let reason = "this is not a domain definition; `virsh dumpxml --inactive NAME` prints one";
        return Err(DomainError::new(domain, reason));
    }
    Ok(())
}

/// Whether the guest of a domain has its numbers the other way round.
fn is_big_endian(domain: Node<'_, '_>) -> bool {
    // ppc64le and its like are other names.
    const BIG_ENDIAN: [&str; 11] = [
        "hppa",
        "m68k",
        "microblaze",
        "mips",
        "mips64",
        "or32",
        "ppc",
        "ppc64",
        "s390x",
        "sparc",
        "sparc64",
    ];
    let kind = named(domain, "os").find_map(|os| named(os, "type").next());
    let arch = kind.and_then(|kind| kind.attribute("arch"));
    arch.is_some_and(|arch| BIG_ENDIAN.contains(&arch))
}

/// The name of a domain, which is a part of paths here.
fn name(domain: Node<'_, '_>) -> Result<String, DomainError> {
    let Some(element) = named(domain, "name").next() else {
        return Err(DomainError::new(domain, "missing domain name: there has to be a <name>"));
    };
    let name = content(element);
    if name.trim().is_empty() {
        return Err(DomainError::new(element, "missing domain name: it is empty"));
    }
    if let Some(wrong) = name.chars().find(|c| c.is_control() || *c == '/') {
        let reason = format!("name {name:?} cannot contain {wrong:?}");
        return Err(DomainError::new(element, reason));
    }
    filled_in(element, &name)?;
    Ok(name)
}

#[cfg(test)]
mod tests;
