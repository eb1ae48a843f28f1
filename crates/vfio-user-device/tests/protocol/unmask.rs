//! The order of an unmasked pin and the messages around it: a guest's acknowledgement comes by
//! message, the end of its interrupt by message or by eventfd, and the server puts them in order.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};

use vfio_user_device::{Access, Bar, Bus, Device, DeviceConfig, Identity};

use crate::common::*;
use crate::served::RunningServer;

/// Level of the interrupt pin.
const PIN: u64 = 0x0;
/// A write keeps the server until the test lets it go on.
const HOLD: u64 = 0x4;

/// A device with a pin that can keep its server busy.
struct Slow {
    entered: Sender<()>,
    go_on: Receiver<()>,
}

impl Device for Slow {
    fn config(&self) -> DeviceConfig {
        DeviceConfig::new(Identity::new(1, 2)).bar(0, Bar::memory32(4096)).interrupt_pin()
    }

    fn read(&mut self, _bus: &mut Bus, _access: Access) -> u64 {
        0
    }

    fn write(&mut self, bus: &mut Bus, access: Access, value: u64) {
        match access.offset {
            PIN => bus.set_intx(value != 0),
            HOLD => {
                self.entered.send(()).unwrap();
                self.go_on.recv().unwrap();
            }
            _ => {}
        }
    }
}

/// A client whose interrupt has fired, with the pin still asserted.
struct Interrupted {
    client: Client,
    trigger: OwnedFd,
    unmask: OwnedFd,
    entered: Receiver<()>,
    go_on: Sender<()>,
    _server: RunningServer,
}

fn interrupted() -> Interrupted {
    let ((entered, is_held), (go_on, released)) = (channel(), channel());
    let server = RunningServer::new(Slow { entered, go_on: released });
    let mut client = server.client();
    let (trigger, unmask) = (event(), event());
    for (action, event) in [(TRIGGER, &trigger), (UNMASK, &unmask)] {
        let set = set_irqs(action | DATA_EVENTFD, INTX, 0, 1, &[]);
        client.request_with(SET_IRQS, &set, &[event.as_fd()]).ok();
    }
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(&trigger), 1);
    Interrupted { client, trigger, unmask, entered: is_held, go_on, _server: server }
}

fn post_pin(client: &mut Client, level: u32) {
    client.post(REGION_WRITE, &region_write(0, PIN, &level.to_le_bytes()), &[]);
}

fn unmask_message() -> Vec<u8> {
    set_irqs(UNMASK | DATA_NONE, INTX, 0, 1, &[])
}

#[test]
fn an_unmask_message_fires_intx_again_while_it_is_asserted() {
    let Interrupted { client, trigger, .. } = &mut interrupted();
    client.request(SET_IRQS, &unmask_message()).ok();
    wait_readable(&*trigger, "the interrupt");
    assert_eq!(signals(trigger), 1);
    client.write_u32(0, PIN, 0);
    client.request(SET_IRQS, &unmask_message()).ok();
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(trigger), 1, "a new interrupt waits for nothing");
}

#[test]
fn an_unmask_eventfd_fires_intx_again_without_a_message() {
    let Interrupted { trigger, unmask, .. } = &interrupted();
    signal(unmask);
    wait_readable(trigger, "the interrupt");
    assert_eq!(signals(trigger), 1);
    assert_eq!(signals(unmask), 0, "taken");
}

#[test]
fn an_acknowledgement_right_behind_an_unmask_message_is_in_time() {
    let Interrupted { client, trigger, .. } = &mut interrupted();
    let set = message(1, SET_IRQS, &unmask_message());
    let write = region_write(0, PIN, &[0; 4]);
    let write = [header(2, REGION_WRITE, 16 + write.len() as u32, NO_REPLY), write].concat();
    client.send_raw(&[set, write].concat(), &[]);
    client.receive().ok();
    client.assert_in_sync();
    assert_eq!(signals(trigger), 0, "an interrupt without a cause");
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(trigger), 1);
}

#[test]
fn an_acknowledgement_that_waits_in_the_socket_comes_before_an_unmask_by_eventfd() {
    let Interrupted { client, trigger, unmask, entered, go_on, .. } = &mut interrupted();
    client.post(REGION_WRITE, &region_write(0, HOLD, &[0; 4]), &[]);
    entered.recv().unwrap();
    // The order in which a processor of the guest does it: other accesses, the acknowledgement,
    // the end of the interrupt.
    for _ in 0..20 {
        client.post(REGION_WRITE, &region_write(0, 8, &[0; 4]), &[]);
    }
    post_pin(client, 0);
    signal(unmask);
    go_on.send(()).unwrap();
    client.assert_in_sync();
    assert_eq!(signals(trigger), 0, "an interrupt without a cause");
    client.write_u32(0, PIN, 1);
    assert_eq!(signals(trigger), 1);
}
