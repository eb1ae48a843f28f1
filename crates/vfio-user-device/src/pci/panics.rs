//! What a panic of a device said, and where.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe, Location, catch_unwind};
use std::sync::Once;

thread_local! {
    /// Where this thread panicked last.
    static PLACE: Cell<Option<String>> = const { Cell::new(None) };
}

/// Has the places of all panics remembered from now on. What the program does with panics besides
/// stays as it is.
pub(crate) fn remember_places() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PLACE.set(info.location().map(Location::to_string));
            before(info);
        }));
    });
}

/// Calls a device's callback. If it panics, the result is place and message in one line.
pub(crate) fn caught<R>(callback: impl FnOnce() -> R) -> Result<R, String> {
    catch_unwind(AssertUnwindSafe(callback)).map_err(|payload| {
        let place = PLACE.take().unwrap_or_else(|| "a place that is not known".into());
        format!("{place}: {}", message(&*payload))
    })
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_with_its_place_and_message() {
        remember_places();
        let line = line!() + 1;
        let told = caught(|| -> u64 { panic!("index {}\nof {}", 7, 5) });
        assert!(told.as_ref().is_err_and(|told| told.ends_with(": index 7 of 5")), "{told:?}");
        let place = format!("{}:{line}:", file!());
        assert!(told.as_ref().is_err_and(|told| told.starts_with(&place)), "{told:?}");
        assert_eq!(caught(|| 3), Ok(3));
        let told = caught(|| std::panic::panic_any(7));
        assert!(told.is_err_and(|told| told.ends_with(": no message")));
    }
}
