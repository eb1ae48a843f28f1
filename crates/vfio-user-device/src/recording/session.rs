//! The beginning of a session's records.

use super::events::{RecordedBar, RecordedRegister, SessionInfo};
use super::{Recorder, Recording};
use crate::bus::Bus;
use crate::pci::function::PciFunction;
use crate::protocol::header::{error_header, reply_header};
use crate::protocol::request::{Answer, RequestError};
use crate::protocol::wire::Header;

impl Bus {
    /// Records what the device does from now on.
    pub(crate) fn record_to(&mut self, recorder: &Recorder) {
        self.recorder = recorder.clone();
        self.interrupts.recorder = recorder.clone();
        self.memory.recorder = recorder.clone();
        self.dma.recorder = recorder.clone();
    }
}

impl Recording {
    /// Begins the records of a client that gets this device.
    pub(crate) fn begin_session(
        &self,
        (server, device): (&str, &serde_json::Value),
        process: Option<i32>,
        resumed: bool,
        function: &mut PciFunction,
    ) -> Recorder {
        let state = function.guarded(None, |function| function.device.save().ok());
        let info = SessionInfo {
            server: server.to_owned(),
            process,
            resumed,
            device: device.clone(),
            vendor: function.config.identity.vendor,
            device_id: function.config.identity.device,
            bars: bars(function),
            state,
        };
        let recorder = self.begin(&info);
        function.bus.record_to(&recorder);
        recorder
    }
}

impl Recorder {
    /// The client's command that came at `time`, and what becomes of it; `payload` is that of the reply.
    pub(crate) fn answered(
        &self,
        time: Option<u64>,
        command: (&Header, &[u8], usize),
        answer: &Result<Answer, RequestError>,
        payload: &[u8],
    ) {
        if time.is_none() {
            return;
        }
        let header = command.0;
        let reply = match answer {
            _ if !header.wants_reply() => None,
            Ok(Answer::Later(_) | Answer::AfterStop(_)) => None,
            Ok(Answer::Reply | Answer::ReplyWithFd(_)) => {
                Some((reply_header(header, payload.len()), payload))
            }
            Err(error) => Some((error_header(header, error.errno()), &[][..])),
        };
        self.message(time, command, reply.as_ref().map(|(header, payload)| (header, *payload)));
    }
}

/// The BARs and registers of a device.
pub(super) fn bars(function: &PciFunction) -> Vec<RecordedBar> {
    let bars = (0_u32..).zip(&function.config.bars);
    bars.filter_map(|(number, bar)| {
        let bar = bar.as_ref()?;
        let registers = bar.registers.iter().map(|register| RecordedRegister {
            name: register.name.to_owned(),
            offset: register.offset,
            size: register.size,
        });
        Some(RecordedBar {
            number,
            size: bar.size,
            max_access_width: bar.max_access_width.bytes(),
            registers: registers.collect(),
        })
    })
    .collect()
}
