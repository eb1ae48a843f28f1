//! `--device`, `--driver`, `--app`, `--watch`: what the user edits in a guest, once or whenever it is
//! saved.

use std::process::ExitCode;

use anyhow::Result;
use lab::agent::Output;
use lab::{LiveGuest, RunDir, progress};

use crate::changes::Changes;
use crate::own::Own;
use crate::{Options, debug};

/// Shows what the user asked for; with `--watch` again and again, until the user ends it.
pub fn run(options: &Options) -> Result<ExitCode> {
    let own = Own::open(options)?;
    // From here on, so that no change is missed.
    let changes = options.watch.then(|| Changes::new(&own)).transpose()?;
    let run = RunDir::create("live-guest")?;
    let built = own.build(&run, options.watch)?;
    let mut live = own.boot(&built, &run)?;
    if options.debug {
        debug::introduce(live.device_pid());
        debug::wait_for_enter()?;
    }
    let loaded = own.load(built, &mut live);
    let command = own.command(options.run.as_deref());
    let shown = live.show(command.as_deref());
    let Some(changes) = changes else {
        let shown = shown?;
        println!("{}", shown.text.trim_end());
        report_failure(&mut live)?;
        let logs = run.path().display();
        progress::say(&format!("logs are in {logs}; again whenever you save: --watch"));
        // A shell's statuses are those that a process can have.
        return loaded.map(|()| ExitCode::from(u8::try_from(shown.status).unwrap_or(u8::MAX)));
    };
    let print = |shown: Output| println!("{}", shown.text.trim_end());
    report(loaded, &live);
    report(shown.map(print), &live);
    report_failure(&mut live)?;
    loop {
        progress::say("watching; save a change to see it here, or end with Ctrl-C");
        let change = changes.next()?;
        progress::say(&change.what());
        let shown = own.exchange(&change, &run, &mut live).and_then(|compiled| {
            print(live.show(command.as_deref())?);
            change.took(compiled);
            Ok(())
        });
        report(shown, &live);
        report_failure(&mut live)?;
    }
}

/// Says what was wrong with a device that has ended.
fn report_failure(live: &mut LiveGuest<'_>) -> Result<()> {
    if let Some(failure) = live.device_failure()? {
        progress::say(&format!("the device has ended by a mistake:\n{failure}"));
    }
    Ok(())
}

/// Says why something is not to be seen, and with what the guest goes on.
fn report(result: Result<()>, live: &LiveGuest<'_>) {
    if let Err(error) = result {
        progress::say(&format!("{error:#}"));
        if !live.is_lost() {
            progress::say("the guest goes on with what it has");
        }
    }
}
