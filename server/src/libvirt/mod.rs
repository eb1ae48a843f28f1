//! `my-rng-server libvirt`: takes the random number generators of a libvirt domain over.
//!
//! A domain definition is XML that administrators write, comment and keep under version control.
//! So it is not parsed to a structure and written anew: `roxmltree` reads it and says at which
//! byte everything is, and the few changes are made in the text itself. (An event reader such as
//! quick-xml could copy what it does not know, too, but the decisions here need to see all of the
//! document first: which prefix the namespace has, which slots are free.)
//!
//! | module | what it knows |
//! | --- | --- |
//! | `rng`, `backend` | what an `<rng>` says |
//! | `memory`, `command_line`, `pci` | what attaching a device takes |
//! | `obstacles`, `options` | what it does not work with |
//! | `conversion` | all of it together |
//! | `configuration` | the server's file |
//! | `layout`, `edits` | changes in the text |
//! | `output` | the files |

mod backend;
mod command_line;
pub mod configuration;
mod conversion;
mod edits;
mod element;
mod layout;
mod memory;
mod obstacles;
mod options;
mod output;
mod pci;
mod rng;

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use my_rng_server::config;

use configuration::Configuration;
use conversion::{Conversion, Wishes, convert};
use output::{Output, Staged};

const EXAMPLES: &str = "\
EXAMPLES
  From a domain as it is to one that is served:

    virsh dumpxml --inactive web1 >web1.xml
    my-rng-server libvirt web1.xml
    my-rng-server --config web1.toml &
    virsh define web1.vfio-user.xml

  The same of qemu:///session, with the teaching device as well:

    my-rng-server libvirt --connect qemu:///session --teaching web1.xml

  Only look at what would become of it:

    virsh dumpxml --inactive web1 |
      my-rng-server libvirt - --config-out /dev/null --domain-out - | diff web1.xml -

EXIT STATUS
  0 if the files were written or the domain needs no change, 1 if it cannot be served, 2 for a wrong
  command line.";

/// Take over the random number generators of a libvirt domain.
///
/// Reads a domain definition and writes two files: the server's configuration, with a guest for
/// each <rng>, and the same domain without them but with the devices attached over vfio-user. All
/// else in the definition stays as it is, byte for byte. A domain that is converted already is left
/// alone.
///
/// An <rng model='virtio'> becomes a transitional device on a conventional PCI bus and a modern one
/// on PCI Express, as with QEMU. QEMU has to be 10.1 or newer.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES, disable_version_flag = true)]
pub struct Libvirt {
    /// The domain definition, or - for standard input.
    #[arg(value_name = "DOMAIN.xml")]
    definition: PathBuf,

    /// Where the configuration goes; - is standard output [default: NAME.toml].
    #[arg(long, value_name = "FILE")]
    config_out: Option<PathBuf>,

    /// Where the domain goes; - is standard output [default: NAME.vfio-user.xml].
    #[arg(long, value_name = "FILE")]
    domain_out: Option<PathBuf>,

    /// Write over files that say something else.
    #[arg(long)]
    force: bool,

    /// The libvirt that the domain belongs to, which decides where the sockets are and which users may
    /// connect to them [default: the system's for root, the session's for others].
    #[arg(short, long, value_enum, value_name = "URI")]
    connect: Option<Connection>,

    /// The folder of the sockets, which QEMU's user has to be able to enter [default:
    /// /run/my-rng-server, or my-rng-server in $XDG_RUNTIME_DIR for the session].
    #[arg(long, value_name = "FOLDER")]
    socket_dir: Option<PathBuf>,

    /// Give the domain the teaching device as well.
    #[arg(long)]
    teaching: bool,
}

/// Whose libvirt a domain belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Connection {
    /// Its QEMUs run as a user of their own.
    #[value(name = "qemu:///system")]
    System,
    /// Its QEMUs run as the user.
    #[value(name = "qemu:///session")]
    Session,
}

impl Connection {
    /// The one that virsh takes.
    fn of_this_user() -> Self {
        if rustix::process::geteuid().is_root() { Self::System } else { Self::Session }
    }

    fn socket_dir(self) -> Result<PathBuf> {
        match self {
            Self::System => Ok("/run/my-rng-server".into()),
            Self::Session => std::env::var_os("XDG_RUNTIME_DIR")
                .filter(|folder| !folder.is_empty())
                .map(|folder| Path::new(&folder).join("my-rng-server"))
                .context("XDG_RUNTIME_DIR is not set: name a folder by --socket-dir"),
        }
    }

    /// QEMU is another user than the server there.
    fn socket_mode(self) -> Option<&'static str> {
        (self == Self::System).then_some("0660")
    }
}

impl Libvirt {
    /// Does what the command line asks for.
    ///
    /// # Errors
    /// The definition cannot be read or served, or the files cannot be written.
    pub fn run(&self) -> Result<()> {
        let text = self.read()?;
        let connection = self.connect.unwrap_or_else(Connection::of_this_user);
        let socket_dir = match &self.socket_dir {
            Some(folder) => {
                std::path::absolute(folder).context("cannot find the current folder")?
            }
            None => connection.socket_dir()?,
        };
        if socket_dir.to_str().is_none() {
            bail!("{}: the folder's name has to be UTF-8, as XML is", socket_dir.display());
        }
        let socket_mode = connection.socket_mode();
        let wishes = Wishes { socket_dir: &socket_dir, socket_mode, teaching: self.teaching };
        let conversion = convert(&text, &wishes).with_context(|| self.called())?;
        for left_out in &conversion.left_out {
            eprintln!("{}: {left_out} has no counterpart and is left out", self.called());
        }
        for note in &conversion.notes {
            eprintln!("{}: {note}", self.called());
        }
        if conversion.guests.is_empty() {
            let sockets = conversion.attached.join(", ");
            eprintln!("domain {} is attached to {sockets}; no change needed", conversion.name);
            return Ok(());
        }
        self.write(conversion, &socket_dir)
    }

    fn write(&self, conversion: Conversion, socket_dir: &Path) -> Result<()> {
        let Conversion { name, guests, domain, .. } = conversion;
        let count = guests.len();
        let configuration = Configuration { guest: guests }.text()?;
        if let Err(problems) = config::Configuration::parse(&configuration) {
            let reasons: Vec<String> = problems.into_iter().map(|problem| problem.reason).collect();
            bail!("domain {name} cannot be served: {}", reasons.join("; "));
        }
        let config_out = Output::new(self.config_out.as_deref(), &format!("{name}.toml"));
        let domain_out = Output::new(self.domain_out.as_deref(), &format!("{name}.vfio-user.xml"));
        if config_out == domain_out {
            bail!("{config_out} cannot be both files: name two by --config-out and --domain-out");
        }
        // Both or none.
        let outputs = [(&config_out, &configuration), (&domain_out, &domain)];
        for (output, text) in outputs {
            output.check(text, self.force)?;
        }
        let staged: Vec<Staged> =
            outputs.iter().map(|(output, text)| output.stage(text)).collect::<Result<_>>()?;
        for staged in staged {
            staged.publish()?;
        }
        eprintln!(
            "domain {name}: {count} {} attached over vfio-user\n  \
             configuration of the server: {config_out}\n  domain: {domain_out}",
            if count == 1 { "device" } else { "devices" }
        );
        eprintln!(
            "  The state of such a device is in no snapshot: after `virsh save` and `restore`, a \
             snapshot with memory or\n  a migration, have the guest remove the device and look for \
             it again (docs/libvirt.md), or shut it down instead"
        );
        if !socket_dir.is_dir() {
            eprintln!("  make the folder of the sockets first: {}", socket_dir.display());
        }
        Ok(())
    }

    fn read(&self) -> Result<String> {
        let bytes = if self.definition == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        } else {
            std::fs::read(&self.definition)
        };
        let bytes = bytes.with_context(|| format!("cannot read {}", self.called()))?;
        String::from_utf8(bytes).with_context(|| {
            format!("{}: the definition has to be UTF-8, as libvirt prints it", self.called())
        })
    }

    /// The definition's name for messages.
    fn called(&self) -> String {
        if self.definition == Path::new("-") {
            return "standard input".to_owned();
        }
        self.definition.display().to_string()
    }
}
