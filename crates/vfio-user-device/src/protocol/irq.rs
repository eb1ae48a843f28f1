//! DEVICE_GET_IRQ_INFO and DEVICE_SET_IRQS: how interrupts reach the client.

use std::time::Instant;

use zerocopy::IntoBytes;

use super::message_fds::MessageFds;
use super::request::{Answer, RequestError, check_argsz, head, wire_size};
use super::wire::{IRQ_INDEX_COUNT, IrqInfo, IrqSet, IrqSetFlags};
use crate::pci::function::PciFunction;
use crate::pci::irq_index::IrqIndex;

fn parse_irq_info(payload: &[u8]) -> Result<IrqIndex, RequestError> {
    let (info, _) = head::<IrqInfo>(payload)?;
    check_argsz(info.argsz, size_of::<IrqInfo>())?;
    irq_index(info.index)
}

fn irq_index(index: u32) -> Result<IrqIndex, RequestError> {
    debug_assert_eq!(IRQ_INDEX_COUNT, IrqIndex::Request as u32 + 1);
    IrqIndex::from_wire(index).ok_or(RequestError::NoIrqIndex(index))
}

/// Describes an interrupt index.
pub(crate) fn irq_info(
    function: &PciFunction,
    payload: &[u8],
    reply: &mut Vec<u8>,
) -> Result<Answer, RequestError> {
    let index = parse_irq_info(payload)?;
    let info = IrqInfo {
        argsz: wire_size::<IrqInfo>(),
        flags: index.flags().bits(),
        index: index as u32,
        count: function.bus.interrupts.count(index),
    };
    reply.extend_from_slice(info.as_bytes());
    Ok(Answer::Reply)
}

/// What a SET_IRQS does with its vectors.
#[derive(Debug)]
enum IrqAction {
    /// Takes all eventfds of the index away.
    Disable,
    /// Assigns the message's eventfds as what is signalled, or takes them away if there are none.
    Assign,
    /// Assigns the message's eventfd as what unmasks the pin.
    AssignUnmask,
    /// Signals the chosen vectors now.
    Trigger,
    /// Masks the chosen vectors.
    Mask,
    /// Unmasks the chosen vectors.
    Unmask,
}

/// A checked SET_IRQS.
#[derive(Debug)]
struct IrqRequest<'p> {
    index: IrqIndex,
    start: u32,
    count: u32,
    action: IrqAction,
    /// One byte a vector; without them every vector is chosen.
    chosen: Option<&'p [u8]>,
}

impl IrqRequest<'_> {
    /// The vectors that the action is for.
    fn vectors(&self) -> impl Iterator<Item = usize> + '_ {
        let range = self.start..self.start.saturating_add(self.count);
        range.enumerate().filter_map(|(position, vector)| {
            let chosen =
                self.chosen.is_none_or(|bytes| bytes.get(position).is_some_and(|byte| *byte != 0));
            chosen.then_some(vector as usize)
        })
    }
}

/// Checks a SET_IRQS; `available` tells each index's number of vectors.
fn parse_set_irqs<'p>(
    payload: &'p [u8],
    fds: &MessageFds,
    available: impl Fn(IrqIndex) -> u32,
) -> Result<IrqRequest<'p>, RequestError> {
    let (set, data) = head::<IrqSet>(payload)?;
    check_argsz(set.argsz, size_of::<IrqSet>())?;
    let index = irq_index(set.index)?;
    let flags = IrqSetFlags::from_bits(set.flags).ok_or(RequestError::Flags(set.flags))?;
    let kind = flags & IrqSetFlags::DATA_MASK;
    let what = flags & IrqSetFlags::ACTION_MASK_ALL;
    if kind.bits().count_ones() != 1 || what.bits().count_ones() != 1 {
        return Err(RequestError::Flags(set.flags));
    }
    let (start, count) = (set.start, set.count);
    let available = available(index);
    let trigger = what == IrqSetFlags::ACTION_TRIGGER;
    // It takes all vectors of the index away; where it says to start makes no difference.
    let disable = count == 0 && trigger && kind == IrqSetFlags::DATA_NONE && available > 0;
    let in_range =
        start < available && start.checked_add(count).is_some_and(|end| end <= available);
    if !disable && (count == 0 || !in_range) {
        return Err(RequestError::NoVectors { start, count, available });
    }
    let alone = matches!(index, IrqIndex::Error | IrqIndex::Request);
    if alone && (!trigger || count > 1) {
        return Err(RequestError::IrqAction(index));
    }
    let eventfd = kind == IrqSetFlags::DATA_EVENTFD;
    let expected_fds = if eventfd { count as usize } else { 0 };
    let got = fds.fds.len();
    fds.check_complete()?;
    if fds.too_many || (got != expected_fds && got != 0) {
        return Err(RequestError::Fds { got, expected: expected_fds });
    }
    let chosen = (kind == IrqSetFlags::DATA_BOOL).then_some(data);
    if chosen.is_some_and(|data| data.len() != count as usize) {
        return Err(RequestError::DataLength { got: data.len(), expected: u64::from(count) });
    }
    let action = irq_action(index, what, eventfd, disable)?;
    Ok(IrqRequest { index, start, count, action, chosen })
}

/// What the flags ask for.
fn irq_action(
    index: IrqIndex,
    what: IrqSetFlags,
    eventfd: bool,
    disable: bool,
) -> Result<IrqAction, RequestError> {
    match (what, eventfd) {
        (IrqSetFlags::ACTION_TRIGGER, true) => Ok(IrqAction::Assign),
        (IrqSetFlags::ACTION_TRIGGER, false) if disable => Ok(IrqAction::Disable),
        (IrqSetFlags::ACTION_TRIGGER, false) => Ok(IrqAction::Trigger),
        // As in the kernel: the pin can be unmasked by eventfd, nothing can be masked by one.
        (IrqSetFlags::ACTION_UNMASK, true) if index == IrqIndex::Intx => {
            Ok(IrqAction::AssignUnmask)
        }
        (_, true) => Err(RequestError::IrqAction(index)),
        (IrqSetFlags::ACTION_MASK, false) => Ok(IrqAction::Mask),
        (_, false) => Ok(IrqAction::Unmask),
    }
}

/// Assigns eventfds, masks, unmasks or triggers interrupts.
pub(crate) fn set_irqs(
    function: &mut PciFunction,
    payload: &[u8],
    fds: MessageFds,
) -> Result<Answer, RequestError> {
    let bus = &mut function.bus;
    let request = parse_set_irqs(payload, &fds, |index| bus.interrupts.count(index))?;
    let (index, start) = (request.index, request.start as usize);
    match request.action {
        IrqAction::Disable => bus.interrupts.disable(index),
        IrqAction::Assign => {
            let none_left = std::iter::repeat_with(|| None);
            let fds = fds.fds.into_iter().map(Some).chain(none_left);
            let fds = fds.take(request.count as usize);
            bus.interrupts.assign(index, start, fds, &bus.config)?;
        }
        IrqAction::AssignUnmask => {
            bus.interrupts.assign_unmask(fds.fds.into_iter().next())?;
        }
        IrqAction::Trigger => {
            request.vectors().for_each(|vector| bus.interrupts.signal(index, vector));
        }
        IrqAction::Mask => {
            request.vectors().for_each(|vector| bus.interrupts.mask(index, vector));
        }
        IrqAction::Unmask => {
            let now = Instant::now();
            request.vectors().for_each(|vector| bus.interrupts.unmask(index, vector, now));
            bus.interrupts.masks_changed(&bus.config);
        }
    }
    Ok(Answer::Reply)
}

#[cfg(test)]
mod tests;
