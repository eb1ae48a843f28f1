//! A guest that is served: its device, at its socket.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use my_rng_server::config::{self, GuestSource, Transport};
use my_rng_server::devices::{self, Surroundings, virtio_rng};
use my_rng_server::entropy::EntropyControl;
use my_rng_server::meter::Meter;
use my_rng_server::source::Supplier;
use my_rng_server::vhost_user;
use vfio_user_kit::{Gate, Key, Listening, Options, Server, Servers, Watch};

use super::gate::GuestGate;
use super::kept::ClassGate;
use super::rates::Rate;

/// A guest that is served until this is stopped.
pub struct Guest {
    /// What was asked for.
    pub configuration: config::Guest,
    /// Its part of a shared source.
    pub class: Option<Arc<ClassGate>>,
    /// Who lets its clients in.
    pub gate: Arc<GuestGate>,
    /// What changes its limit and source, if its device has any.
    pub control: Option<EntropyControl>,
    pub meter: Arc<Meter>,
    pub watch: Watch,
    pub rate: Rate,
    serving: Serving,
}

/// Who serves it.
enum Serving {
    /// The kit, among others.
    VfioUser(Key),
    /// A thread of its own.
    VhostUser(vhost_user::Running),
}

/// What a guest needs beside its configuration.
pub struct Needs<'a> {
    pub servers: &'a Servers,
    /// Its socket, if that listens already.
    pub listener: Option<OwnedFd>,
    pub class: Option<Arc<ClassGate>>,
    pub gate: Arc<GuestGate>,
    pub busy_poll: std::time::Duration,
}

impl Guest {
    /// Serves a guest from now on.
    ///
    /// # Errors
    /// Its source cannot be opened, or its socket cannot be had.
    pub fn start(configuration: config::Guest, mut needs: Needs<'_>) -> Result<Self> {
        let meter = Arc::new(Meter::default());
        let source: Arc<dyn Supplier> = match (&configuration.source, &needs.class) {
            (GuestSource::Own(specification), _) => Arc::new(specification.clone()),
            (_, Some(class)) => Arc::new(Arc::clone(&class.share)),
            (GuestSource::Shared { .. }, None) => anyhow::bail!("it has no share"),
        };
        let control = Arc::new(OnceLock::new());
        let surroundings = Surroundings { source, meter: Arc::clone(&meter), control };
        let (serving, watch) = match configuration.transport {
            Transport::VfioUser => serve_vfio_user(&configuration, &surroundings, &mut needs)?,
            Transport::VhostUser => serve_vhost_user(&configuration, &surroundings, &mut needs)?,
        };
        log::info!("{}: listening at {}", configuration.name, configuration.socket.display());
        let Needs { class, gate, .. } = needs;
        let (control, rate) = (surroundings.control.get().cloned(), Rate::default());
        Ok(Guest { configuration, class, gate, control, meter, watch, rate, serving })
    }

    /// Ends several guests' connections and removes their sockets.
    pub fn disconnect(guests: &mut [Guest], servers: &Servers) {
        let mut keys = Vec::new();
        for guest in guests.iter() {
            match &guest.serving {
                Serving::VfioUser(key) => keys.push(*key),
                Serving::VhostUser(running) => running.stop(),
            }
        }
        servers.remove(&keys);
        for guest in guests {
            if let Serving::VhostUser(running) = &mut guest.serving {
                running.wait();
            }
        }
    }

    /// The same for guests that there are no more.
    pub fn stop_all(mut guests: Vec<Guest>, servers: &Servers) {
        Guest::disconnect(&mut guests, servers);
        guests.iter().filter_map(|guest| guest.class.as_ref()).for_each(|class| class.forget());
    }
}

fn serve_vfio_user(
    guest: &config::Guest,
    surroundings: &Surroundings,
    needs: &mut Needs<'_>,
) -> Result<(Serving, Watch)> {
    let kind = devices::find(guest.device).context("no such device")?;
    let device = (kind.make)(&guest.settings, surroundings)?;
    let options = Options { socket_mode: guest.socket_mode, busy_poll: needs.busy_poll };
    let server = match needs.listener.take() {
        Some(listener) => Server::from_listener(listener, device, options)?,
        None => Server::bind(&guest.socket, device, options)?,
    };
    let (settings, surroundings) = (guest.settings.clone(), surroundings.clone());
    let server = server
        .with_factory(move || Ok((kind.make)(&settings, &surroundings)?))
        .with_gate(Arc::clone(&needs.gate) as Arc<dyn Gate>);
    let watch = server.watch();
    Ok((Serving::VfioUser(needs.servers.add(server)?), watch))
}

fn serve_vhost_user(
    guest: &config::Guest,
    surroundings: &Surroundings,
    needs: &mut Needs<'_>,
) -> Result<(Serving, Watch)> {
    let entropy = virtio_rng::entropy(&guest.settings, surroundings)?;
    let listening = match needs.listener.take() {
        Some(listener) => Listening::passed(listener)?,
        None => Listening::at(&guest.socket, guest.socket_mode)?,
    };
    let server = vhost_user::Server::on(listening, entropy);
    let server = server.with_gate(Arc::clone(&needs.gate) as Arc<dyn Gate>);
    let watch = server.watch();
    Ok((Serving::VhostUser(vhost_user::Running::start(server)?), watch))
}
