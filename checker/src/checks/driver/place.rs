//! Where in the student's source the kernel has failed.

use std::path::Path;

use lab::sandbox::{Limits, Sandbox};
use lab::{Arch, oops};

/// The most bytes of a source's name that are shown.
const MAX_LEN: usize = 120;

/// The place in a driver where the kernel failed, by its log: `my_rng.c:23 (my_ioctl+0x5f)`. Nothing
/// if the log names none of the driver's functions.
pub fn of(log: &str, module: &Path) -> Option<String> {
    let place = oops::first(log)?.places.into_iter().next()?;
    Some(match source_line(module, &place) {
        Some(line) => format!("{line} ({place})"),
        None => place,
    })
}

/// The source line of a place in a module, which an untrusted build has made: what reads it is in a
/// sandbox, too.
fn source_line(module: &Path, place: &str) -> Option<String> {
    let debug = oops::with_debug_information(module);
    // Not followed if it is a link.
    debug.symlink_metadata().ok().filter(|metadata| metadata.is_file())?;
    let inside = Path::new("/module.ko");
    let sandbox = Sandbox::with_build_root(Limits::PROGRAM).ok()?.shows(&debug, inside);
    let program = format!("/usr/bin/{}", Arch::guest().tool("addr2line"));
    let outcome = sandbox.run(&program, &["-e", "/module.ko", place]).ok()?;
    outcome.end.success().then(|| line_of(&outcome.text()))?
}

/// The line that addr2line names, as the student knows the file.
fn line_of(said: &str) -> Option<String> {
    let line = said.lines().next()?.split(" (").next()?.trim();
    let line = line.strip_prefix("/work/").unwrap_or(line);
    let line = line.strip_prefix("./").unwrap_or(line);
    (!line.starts_with("??") && !line.ends_with(":?") && line.len() <= MAX_LEN)
        .then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_named_as_the_student_knows_it() {
        assert_eq!(
            line_of("/work/my_rng.c:23 (discriminator 2)\n"),
            Some("my_rng.c:23".to_owned())
        );
        assert_eq!(line_of("/work/src/my_rng.c:23\n"), Some("src/my_rng.c:23".to_owned()));
        assert_eq!(line_of("??:0\n"), None);
        assert_eq!(line_of("my_rng.c:?\n"), None);
    }

    #[test]
    fn without_debug_information_the_function_is_named() {
        let log = "[ 9.1] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
            [ 9.1] RIP: 0010:my_ioctl+0x5f/0x90 [my_rng]\n";
        assert_eq!(of(log, Path::new("/absent.ko")), Some("my_ioctl+0x5f".to_owned()));
        assert_eq!(of("[ 9.1] all is well\n", Path::new("/absent.ko")), None);
    }
}
