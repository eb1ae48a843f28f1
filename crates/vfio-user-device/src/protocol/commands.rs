//! Which function carries a command out.

use super::connection::KEPT;
use super::dma::{self, MapWarnings};
use super::message_fds::MessageFds;
use super::request::{Answer, RequestError};
use super::version::Capabilities;
use super::wire::{Command, Header};
use super::{feature, info, irq, migration, region};
use crate::pci::function::PciFunction;

/// Carries commands out, one after the other.
pub(crate) struct Commands<'f> {
    pub function: &'f mut PciFunction,
    /// Whether a reply may have a file descriptor.
    pub client_takes_fds: bool,
    /// Payload of the reply that is being made; one allocation serves them all.
    reply: Vec<u8>,
    warned: MapWarnings,
}

impl<'f> Commands<'f> {
    pub fn new(function: &'f mut PciFunction) -> Self {
        Commands {
            function,
            client_takes_fds: true,
            reply: Vec::new(),
            warned: MapWarnings::default(),
        }
    }

    /// Goes by what the client can do.
    pub fn heed(&mut self, proposed: &Capabilities) {
        self.client_takes_fds = proposed.max_msg_fds != Some(0);
        if proposed.write_multiple == Some(true) {
            self.function.bus.memory.ask_client();
        }
    }

    /// Payload of the reply to the last command.
    pub fn reply(&self) -> &[u8] {
        &self.reply
    }

    /// Puts a reply there that was made before.
    pub fn set_reply(&mut self, reply: Vec<u8>) {
        self.reply = reply;
    }

    /// The reply was sent.
    pub fn forget_reply(&mut self) {
        self.reply.clear();
        self.reply.shrink_to(KEPT);
    }

    /// Carries a command out; the payload of its reply is left in [`Commands::reply`].
    pub fn answer(
        &mut self,
        header: &Header,
        payload: &[u8],
        fds: MessageFds,
    ) -> Result<Answer, RequestError> {
        self.reply.clear();
        if !header.is_command() {
            return Err(RequestError::NotACommand(header.flags));
        }
        let command = Command::from_wire(header.command)
            .ok_or(RequestError::UnknownCommand(header.command))?;
        let reply = &mut self.reply;
        // Descriptors where none belong are closed when `fds` goes out of scope.
        match command {
            Command::Version => Err(RequestError::AlreadyNegotiated),
            Command::DmaMap => dma::map(self.function, &mut self.warned, payload, fds),
            Command::DmaUnmap => dma::unmap(self.function, payload, reply),
            Command::DeviceGetInfo => info::device_info(payload, reply),
            Command::DeviceGetRegionInfo => {
                info::region_info(self.function, self.client_takes_fds, payload, reply)
            }
            Command::DeviceGetRegionIoFds => info::region_io_fds(payload),
            Command::DeviceGetIrqInfo => irq::irq_info(self.function, payload, reply),
            Command::DeviceSetIrqs => irq::set_irqs(self.function, payload, fds),
            Command::RegionRead => region::read(self.function, payload, reply),
            Command::RegionWrite => region::write(self.function, payload, reply),
            Command::RegionWriteMulti => region::write_multi(self.function, payload, reply),
            Command::DeviceReset => {
                log::info!("device reset");
                self.function.reset();
                Ok(Answer::Reply)
            }
            Command::DeviceFeature => feature::device_feature(self.function, payload, reply),
            Command::MigDataRead => migration::data_read(self.function, payload, reply),
            Command::MigDataWrite => migration::data_write(self.function, payload),
            Command::DmaRead | Command::DmaWrite => Err(RequestError::WrongDirection(command)),
        }
    }
}
