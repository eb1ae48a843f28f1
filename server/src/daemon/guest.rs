//! A guest that is served: its device, at its socket.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use my_rng_server::config::{self, GuestSource};
use my_rng_server::devices::{self, Surroundings};
use my_rng_server::meter::Meter;
use my_rng_server::source::Supplier;
use vfio_user_kit::{Gate, Key, Options, Server, Servers, Watch};

use super::kept::ClassGate;
use super::rates::Rate;

/// A guest that is served until this is stopped.
pub struct Guest {
    /// What was asked for.
    pub configuration: config::Guest,
    /// Its part of a shared source, and who lets it in there.
    pub gate: Option<Arc<ClassGate>>,
    pub meter: Arc<Meter>,
    pub watch: Watch,
    pub rate: Rate,
    key: Key,
}

/// What a guest needs beside its configuration.
pub struct Needs<'a> {
    pub servers: &'a Servers,
    /// Its socket, if that listens already.
    pub listener: Option<OwnedFd>,
    pub gate: Option<Arc<ClassGate>>,
    pub busy_poll: std::time::Duration,
}

impl Guest {
    /// Serves a guest from now on.
    ///
    /// # Errors
    /// Its source cannot be opened, or its socket cannot be had.
    pub fn start(configuration: config::Guest, needs: Needs<'_>) -> Result<Self> {
        let meter = Arc::new(Meter::default());
        let source: Arc<dyn Supplier> = match (&configuration.source, &needs.gate) {
            (GuestSource::Own(specification), _) => Arc::new(specification.clone()),
            (_, Some(gate)) => Arc::new(Arc::clone(&gate.share)),
            (GuestSource::Shared { .. }, None) => anyhow::bail!("it has no share"),
        };
        let surroundings = Surroundings { source, meter: Arc::clone(&meter) };
        let kind = devices::find(configuration.device).context("no such device")?;
        let device = (kind.make)(&configuration.settings, &surroundings)?;
        let options =
            Options { socket_mode: configuration.socket_mode, busy_poll: needs.busy_poll };
        let mut server = match needs.listener {
            Some(listener) => Server::from_listener(listener, device, options)?,
            None => Server::bind(&configuration.socket, device, options)?,
        };
        if let Some(gate) = &needs.gate {
            server = server.with_gate(Arc::clone(gate) as Arc<dyn Gate>);
        }
        let watch = server.watch();
        let key = needs.servers.add(server)?;
        log::info!("{}: listening at {}", configuration.name, configuration.socket.display());
        let (gate, rate) = (needs.gate, Rate::default());
        Ok(Guest { configuration, gate, meter, watch, rate, key })
    }

    /// Ends several guests' connections and removes their sockets.
    pub fn stop_all(guests: Vec<Guest>, servers: &Servers) {
        let keys: Vec<_> = guests.iter().map(|guest| guest.key).collect();
        servers.remove(&keys);
        guests.iter().filter_map(|guest| guest.gate.as_ref()).for_each(|gate| gate.forget());
    }
}
