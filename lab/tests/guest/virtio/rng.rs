//! A virtio-rng for a guest: that of our server over vfio-user or vhost-user, or QEMU's own.
//!
//! `VIRTIO_RNG=vhost-user` runs these tests over vhost-user: the guest's driver sees a device of
//! QEMU's, and our server fills its queue. `VIRTIO_RNG=qemu` runs them with the device inside QEMU,
//! without a server. They have to pass with it too: then what they ask of our device is what guests
//! are used to.

use std::fs;

use anyhow::{Context, Result, bail};
use lab::guest::Builder;
use lab::{Guest, RunDir, Server, variables};
use my_rng_model::generator::{ChaCha20, Generator};
use serde_json::{Value, json};

/// The environment variable that chooses.
const VARIABLE: &str = "VIRTIO_RNG";
const CHOICES: &[&str] = &["server", "vhost-user", "qemu"];

/// How long the stream of [`Source::Stream`] is at least.
const STREAM: usize = 1 << 20;

/// Where the bytes come from.
#[derive(Debug, Clone, Default)]
pub enum Source {
    /// The host's operating system.
    #[default]
    System,
    /// The key stream of [`ChaCha20`] with this seed.
    Stream(u32),
    /// A file in the run's folder.
    File(String),
    /// An entropy gathering daemon that listens at a socket in the run's folder.
    Daemon(String),
}

/// So many bytes in so many milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub bytes: u32,
    pub period: u32,
}

/// What a device is to be like.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub source: Source,
    pub limit: Option<Limit>,
    /// With the legacy interface next to the modern one.
    pub transitional: bool,
    /// Offering a packed queue.
    pub packed: bool,
    /// With its interrupt pin only.
    pub without_msix: bool,
    /// Reaching memory through the machine's IOMMU, which QEMU's own has to be told.
    pub behind_iommu: bool,
    /// With each register access in the server's log.
    pub every_access: bool,
}

/// A device; when it is our server's, the server ends when the value goes.
#[derive(Debug)]
pub struct Rng<'run> {
    id: String,
    server: Option<Server<'run>>,
    /// QEMU's description of the device.
    device: Value,
    /// QEMU's description of the source of its own device.
    source: Option<Value>,
    /// Whether the server is attached to over vhost-user, by a character device of QEMU's.
    vhost_user: bool,
}

/// Whether the user chose a device that has no such thing; says so.
pub fn chosen_has_no(what: &str) -> bool {
    let chosen = variables::one_of(VARIABLE, CHOICES).expect("one of the choices");
    let without = chosen == Some("vhost-user");
    if without {
        crate::say(&format!("skipped: vhost-user has no {what}"));
    }
    without
}

/// Whether the user chose QEMU's own device and Linux hangs with that limit of it: the rest of a
/// period is more than a half of 64 bytes, and less than all. Says so.
pub fn chosen_hangs_with(limit: Limit) -> bool {
    let chosen = variables::one_of(VARIABLE, CHOICES).expect("one of the choices");
    let hangs = chosen == Some("qemu") && (33..64).contains(&(limit.bytes % 64));
    if hangs {
        crate::say(&format!("skipped: Linux hangs with QEMU's own device and {limit:?}"));
    }
    hangs
}

impl<'run> Rng<'run> {
    /// Makes the device the user chose; the name is the server's and QEMU's id.
    pub fn start(run: &'run RunDir, name: &str, options: &Options) -> Result<Self> {
        match variables::one_of(VARIABLE, CHOICES)? {
            Some("qemu") => Self::inside_qemu(run, name, options),
            Some("vhost-user") => Self::over_vhost_user(run, name, options),
            _ => Self::of_our_server(run, name, options),
        }
    }

    /// Our server's, whatever was chosen.
    pub fn of_our_server(run: &'run RunDir, name: &str, options: &Options) -> Result<Self> {
        let words = [words(options), words_of_pci(options)].concat();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let server = Server::start(run, name, &words)?;
        let device = server.device();
        let id = name.to_owned();
        Ok(Self { id, server: Some(server), device, source: None, vhost_user: false })
    }

    /// Our server's over vhost-user, whatever was chosen.
    pub fn over_vhost_user(run: &'run RunDir, name: &str, options: &Options) -> Result<Self> {
        let words = words(options);
        let transport = ["--transport", "vhost-user"].into_iter();
        let words: Vec<&str> = transport.chain(words.iter().map(String::as_str)).collect();
        let server = Server::start(run, name, &words)?;
        let vectors = if options.without_msix { 0 } else { 2 };
        let chardev = chardev_id(name);
        let device = json!({
            "driver": "vhost-user-rng-pci", "id": name, "chardev": chardev, "vectors": vectors,
        });
        let id = name.to_owned();
        Ok(Self { id, server: Some(server), device, source: None, vhost_user: true })
    }

    /// QEMU's own, whatever was chosen.
    pub fn inside_qemu(run: &RunDir, name: &str, options: &Options) -> Result<Self> {
        let source_id = format!("{name}-source");
        let source = match &options.source {
            Source::Daemon(_) => bail!("the lab has no entropy daemon for QEMU"),
            Source::System => json!({"qom-type": "rng-builtin", "id": source_id}),
            Source::Stream(seed) => {
                let file = format!("{name}.stream");
                fs::write(run.path().join(&file), stream(*seed, STREAM))
                    .with_context(|| format!("cannot write {file}"))?;
                json!({"qom-type": "rng-random", "id": source_id, "filename": file})
            }
            Source::File(file) => {
                json!({"qom-type": "rng-random", "id": source_id, "filename": file})
            }
        };
        let kind = if options.transitional { "transitional" } else { "non-transitional" };
        let mut device = json!({
            "driver": format!("virtio-rng-pci-{kind}"), "id": name, "rng": source_id,
        });
        if let Some(limit) = options.limit {
            device["max-bytes"] = limit.bytes.into();
            device["period"] = limit.period.into();
        }
        if options.packed {
            device["packed"] = true.into();
        }
        if options.without_msix {
            device["vectors"] = 0.into();
        }
        if options.behind_iommu {
            device["iommu_platform"] = true.into();
        }
        let id = name.to_owned();
        Ok(Self { id, server: None, device, source: Some(source), vhost_user: false })
    }

    /// Our server, if the device is its.
    pub fn server(&self) -> Option<&Server<'run>> {
        self.server.as_ref()
    }

    /// A guest that has it from the start.
    pub fn attach<'guest>(&self, guest: Builder<'guest>) -> Builder<'guest> {
        let mut guest = self.announce(guest);
        if self.vhost_user {
            let chardev = format!("socket,id={},path={}.sock", chardev_id(&self.id), self.id);
            guest = guest.arguments(&["-chardev", &chardev]);
        }
        guest.device(&self.device)
    }

    /// A guest into which it can be plugged.
    pub fn announce<'guest>(&self, guest: Builder<'guest>) -> Builder<'guest> {
        match &self.source {
            Some(source) => guest.arguments(&["-object", &source.to_string()]),
            None => guest,
        }
    }

    /// Plugs it into a guest that runs.
    pub fn plug(&self, guest: &mut Guest) -> Result<()> {
        if self.vhost_user {
            let path = format!("{}.sock", self.id);
            let address = json!({"type": "unix", "data": {"path": path}});
            let backend = json!({"type": "socket", "data": {"addr": address, "server": false}});
            let chardev = json!({"id": chardev_id(&self.id), "backend": backend});
            guest.qmp().execute("chardev-add", &chardev)?;
        }
        guest.plug_device(&self.device)
    }

    /// Unplugs it and waits until the guest has let it go.
    pub fn unplug(&self, guest: &mut Guest) -> Result<()> {
        guest.unplug(&self.id)?;
        if self.vhost_user {
            guest.qmp().execute("chardev-remove", &json!({"id": chardev_id(&self.id)}))?;
        }
        Ok(())
    }
}

/// What the character device of a device is called.
fn chardev_id(name: &str) -> String {
    format!("{name}-socket")
}

/// The options of our server.
fn words(options: &Options) -> Vec<String> {
    let log = if options.every_access { "-vv" } else { "-v" };
    let mut words = ["--device", "virtio-rng", log].map(str::to_owned).to_vec();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    match &options.source {
        Source::System => {}
        Source::Stream(seed) => add("--source", format!("chacha20:{seed}")),
        Source::File(file) => add("--source", format!("file:{file}")),
        Source::Daemon(socket) => add("--source", format!("egd:unix:{socket}")),
    }
    if let Some(limit) = options.limit {
        add("--max-bytes", limit.bytes.to_string());
        add("--period", limit.period.to_string());
    }
    words
}

/// Those that say what the device's PCI side is like. Over vhost-user QEMU is told.
fn words_of_pci(options: &Options) -> Vec<String> {
    let transitional = options.transitional.then_some(&["--virtio", "transitional"][..]);
    let without_msix = options.without_msix.then_some(&["--vectors", "0"][..]);
    let packed = options.packed.then_some(&["--packed"][..]);
    let words = [transitional, without_msix, packed].into_iter().flatten().flatten();
    words.map(|word| (*word).to_owned()).collect()
}

/// The first bytes of ChaCha20's key stream.
pub fn stream(seed: u32, bytes: usize) -> Vec<u8> {
    let mut numbers = ChaCha20::from_seed(seed);
    (0..bytes.div_ceil(4)).flat_map(|_| numbers.next_u32().to_le_bytes()).take(bytes).collect()
}
