//! A server that is kept for a process which takes this one's place after a crash.

use super::RunningServer;
use crate::keeper::{Ledger, Part, ServerPart, Unkept};
use crate::session::SessionState;
use crate::state::{Descriptors, StateError};

impl RunningServer {
    /// Keeps the server as it is now, if the process is kept, with the client that it has taken over.
    pub(super) fn keep_from_now_on(&self, entry: Option<usize>) {
        let Some(ledger) = Ledger::of_kept_process(entry) else { return };
        self.function().bus.ledger = Some(Box::new(ledger));
        let mut fds = Descriptors::named();
        let session = self.clients().inherited.as_mut().map(|client| client.session.save(&mut fds));
        self.keep_clients();
        let mut function = self.function();
        let Some(mut ledger) = function.bus.ledger.take() else { return };
        match session.transpose() {
            Ok(session) => ledger.write(Part::Session, &session, fds),
            Err(error) => self.not_kept(&mut ledger, &error),
        }
        function.mark_all();
        function.write_parts(&mut ledger, true);
        ledger.commit(true, false);
        ledger.publish();
        function.bus.ledger = Some(ledger);
    }

    /// Keeps which client is connected, from the next commit on.
    pub(super) fn keep_clients(&self) {
        let mut function = self.function();
        let Some(ledger) = &mut function.bus.ledger else { return };
        let stats = self.state.stats();
        let mut clients = self.clients();
        let inherited = clients.inherited.as_mut();
        let inherited = inherited.map(|client| (client.process, client.since));
        let present = stats.client.map(|client| (client.process, Some(client.since)));
        let (process, since) = inherited.or(present).unwrap_or_default();
        let mut fds = Descriptors::named();
        let Some(listener) = &clients.listener else { return };
        match listener.save(&mut fds) {
            Ok(listener) => {
                let (admitted, rejected) = (stats.admitted, stats.rejected);
                let part = ServerPart { listener, admitted, rejected, process, since };
                ledger.write(Part::Server, &part, fds);
            }
            Err(error) => self.not_kept(ledger, &error),
        }
    }

    fn not_kept(&self, ledger: &mut Ledger, error: &StateError) {
        self.warn(format_args!("a crash loses its client, which cannot be kept: {error}"));
        ledger.map().set_unkept(Unkept::Part, true);
        ledger.write(Part::Session, &None::<SessionState>, Descriptors::named());
    }
}
