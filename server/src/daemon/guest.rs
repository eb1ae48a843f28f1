//! A guest that is served: its device, at its socket.

use std::os::fd::OwnedFd;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use entropy::meter::Meter;
use entropy::service::EntropyControl;
use entropy::source::SourceFactory;
use my_rng_server::config::{self, GuestSource, Transport};
use my_rng_server::devices::{DeviceContext, DeviceOptions, virtio_rng};
use my_rng_server::vhost_user;
use vfio_user_device::exchange::Inherited;
use vfio_user_device::recording::Recording;
use vfio_user_device::server::{
    AdmissionPolicy, Listener, Options, Server, ServerKey, ServerSet, ServerState,
    SocketPermissions,
};

use super::class_admission::ClassAdmission;
use super::guest_admission::GuestAdmission;
use super::rates::Rate;
use super::state_file::StateFile;

/// A guest that is served until this is stopped.
pub struct Guest {
    /// What was asked for.
    pub configuration: config::Guest,
    /// Its part of a shared source.
    pub class: Option<Arc<ClassAdmission>>,
    /// Admits its clients.
    pub admission: Arc<GuestAdmission>,
    /// What changes its limit and source, if its device has any.
    pub control: Option<EntropyControl>,
    pub meter: Arc<Meter>,
    pub state: ServerState,
    /// What changes the permissions of its socket, unless that was passed to the daemon.
    pub permissions: Option<SocketPermissions>,
    pub rate: Rate,
    serving: Serving,
}

/// What serves it.
enum Serving {
    /// The kit, among others.
    VfioUser(ServerKey),
    /// A thread of its own.
    VhostUser(vhost_user::Running),
}

/// A guest that is being served.
struct Served {
    serving: Serving,
    state: ServerState,
    permissions: Option<SocketPermissions>,
}

/// What a guest needs beside its configuration.
pub struct Needs<'a> {
    pub servers: &'a ServerSet,
    /// The process whose place this one takes, which may have the guest's server.
    pub predecessor: Option<&'a mut Inherited>,
    /// Its socket, if that listens already.
    pub listener: Option<OwnedFd>,
    pub class: Option<Arc<ClassAdmission>>,
    pub admission: Arc<GuestAdmission>,
    pub busy_poll: std::time::Duration,
    /// Where its sessions are recorded.
    pub recording: Option<&'a Recording>,
    /// What devices were like when the last daemon ended.
    pub states: &'a mut StateFile,
}

impl Guest {
    /// Serves a guest from now on.
    ///
    /// # Errors
    /// Its source cannot be opened, or its socket cannot be had.
    pub fn start(configuration: config::Guest, mut needs: Needs<'_>) -> Result<Self> {
        let meter = Arc::new(Meter::default());
        let source: Arc<dyn SourceFactory> = match (&configuration.source, &needs.class) {
            (GuestSource::Own(specification), _) => Arc::new(specification.clone()),
            (_, Some(class)) => Arc::new(Arc::clone(&class.share)),
            (GuestSource::Shared { .. }, None) => anyhow::bail!("it has no share"),
        };
        let control = Arc::new(OnceLock::new());
        let guest = configuration.name.clone();
        let context = DeviceContext { guest, source, meter: Arc::clone(&meter), control };
        let Served { serving, state, permissions } = match configuration.transport {
            Transport::VfioUser => serve_vfio_user(&configuration, &context, &mut needs)?,
            Transport::VhostUser => serve_vhost_user(&configuration, &context, &mut needs)?,
        };
        log::info!("{}: listening at {}", configuration.name, configuration.socket.display());
        Ok(Guest {
            configuration,
            class: needs.class,
            admission: needs.admission,
            control: context.control.get().cloned(),
            meter,
            state,
            permissions,
            rate: Rate::default(),
            serving,
        })
    }

    /// Its server, if the kit serves it.
    pub fn key(&self) -> Option<ServerKey> {
        match &self.serving {
            Serving::VfioUser(key) => Some(*key),
            Serving::VhostUser(_) => None,
        }
    }

    /// Whether its device is shown by vhost-user.
    pub fn is_vhost_user(&self) -> bool {
        matches!(self.serving, Serving::VhostUser(_))
    }

    /// Ends several guests' connections and removes their sockets.
    pub fn disconnect(guests: &mut [Guest], servers: &ServerSet) {
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

    /// The same for guests that are removed.
    pub fn stop_all(mut guests: Vec<Guest>, servers: &ServerSet) {
        Guest::disconnect(&mut guests, servers);
        guests
            .iter()
            .filter_map(|guest| guest.class.as_ref())
            .for_each(|class| class.release_unclaimed());
    }
}

fn serve_vfio_user(
    guest: &config::Guest,
    context: &DeviceContext,
    needs: &mut Needs<'_>,
) -> Result<Served> {
    let device = guest.device.make(context)?;
    let options = Options { socket_mode: guest.socket_mode, busy_poll: needs.busy_poll };
    let name = guest.socket.display().to_string();
    let predecessor = needs.predecessor.as_deref_mut().filter(|other| other.has_server(&name));
    let server = match (predecessor, needs.listener.take()) {
        (Some(predecessor), _) => {
            predecessor.server(&name, device, options).context("its server was taken")??
        }
        (None, Some(listener)) => {
            go_on(Server::from_listener(listener, device, options)?, guest, needs.states)
        }
        (None, None) => go_on(Server::bind(&guest.socket, device, options)?, guest, needs.states),
    };
    let server = match needs.recording {
        Some(recording) => server.with_recording(recording, serde_json::to_value(&guest.device)?),
        None => server,
    };
    let (options, context) = (guest.device.clone(), context.clone());
    let server = server
        .with_factory(move || Ok(options.make(&context)?))
        .with_admission_policy(Arc::clone(&needs.admission) as Arc<dyn AdmissionPolicy>);
    let (state, permissions) = (server.state(), server.socket_permissions());
    Ok(Served { serving: Serving::VfioUser(needs.servers.add(server)?), state, permissions })
}

/// The same server, with a device that goes on where that of the last daemon has ended.
fn go_on(mut server: Server, guest: &config::Guest, states: &mut StateFile) -> Server {
    if let Some(state) = states.take(&guest.name, guest.device.device()) {
        if let Err(error) = server.restore_device(&state) {
            states.reject(&guest.name, &error.to_string());
        }
    }
    server
}

fn serve_vhost_user(
    guest: &config::Guest,
    context: &DeviceContext,
    needs: &mut Needs<'_>,
) -> Result<Served> {
    let DeviceOptions::VirtioRng(options) = &guest.device else {
        anyhow::bail!("vhost-user has only virtio-rng, not {}", guest.device.device());
    };
    if needs.recording.is_some() {
        log::warn!(
            "{} is not recorded: with vhost-user there are no messages; use --transport vfio-user",
            guest.name
        );
    }
    let entropy = virtio_rng::entropy(options, context)?;
    let listening = match needs.listener.take() {
        Some(listener) => Listener::from_fd(listener)?,
        None => Listener::bind(&guest.socket, guest.socket_mode)?,
    };
    let server = vhost_user::Server::on(listening, entropy).with_name(&guest.name);
    let server =
        server.with_admission_policy(Arc::clone(&needs.admission) as Arc<dyn AdmissionPolicy>);
    let (state, permissions) = (server.state(), server.socket_permissions());
    let serving = Serving::VhostUser(vhost_user::Running::start(server)?);
    Ok(Served { serving, state, permissions })
}
