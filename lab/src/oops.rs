//! What the guest's kernel says when it has failed: its first line, and the place in the driver.

use std::path::{Path, PathBuf};

use crate::{environment, process};

/// How the kernel begins to say that it has failed. A lockup is not among them: a busy host makes the
/// kernel see one where there is none.
const SIGNS: [&str; 8] = [
    "Kernel panic - not syncing: ",
    "BUG: unable to handle ",
    "BUG: kernel NULL pointer dereference",
    "kernel BUG at ",
    "general protection fault",
    "Oops: ",
    // On arm64.
    "Unable to handle kernel ",
    "Internal error: ",
];

/// A failure of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oops {
    /// What the kernel says first.
    pub said: String,
    /// Where it was in a module, `my_ioctl+0x5f`, innermost first.
    pub places: Vec<String>,
}

/// The first failure in a console's log.
pub fn first(console: &str) -> Option<Oops> {
    let begins = |said: &&str| SIGNS.iter().any(|sign| said.starts_with(sign));
    let mut lines = console.lines().map(message).skip_while(|said| !begins(said));
    let said = lines.next()?.trim().to_owned();
    let rest = lines.take_while(|said| !said.starts_with("---[ end trace"));
    let mut places: Vec<String> = rest.filter_map(place).collect();
    places.dedup();
    Some(Oops { said, places })
}

/// A line without its time and the caller that some kernels name.
fn message(line: &str) -> &str {
    let mut said = line.trim_start();
    while let Some((_, rest)) = said.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        said = rest.trim_start();
    }
    said
}

/// `RIP: 0010:my_ioctl+0x5f/0x90 [my_rng]`, or the same in the trace, of a module.
fn place(said: &str) -> Option<String> {
    let said = said.trim();
    // As x86-64 and arm64 name where they have stopped.
    let said = ["RIP: 0010:", "pc : "].iter().find_map(|at| said.strip_prefix(at)).unwrap_or(said);
    let (place, module) = said.split_once(" [")?;
    module.strip_suffix(']')?;
    let (function, _) = place.rsplit_once('/')?;
    let (_, offset) = function.split_once("+0x")?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "_.+".contains(letter);
    let is_place = !offset.is_empty() && function.chars().all(plain);
    is_place.then(|| function.to_owned())
}

impl Oops {
    /// What happened and where, for a person; the module, as it was before it was stripped, knows the
    /// lines of its source.
    pub fn told(&self, module: Option<&Path>) -> String {
        let mut told = format!("the guest's kernel has failed: {}", self.said);
        let debug = module.map(with_debug_information).filter(|path| path.is_file());
        for place in &self.places {
            let line = debug.as_ref().and_then(|debug| source_line(debug, place));
            let line = line.map(|line| format!(" at {line}")).unwrap_or_default();
            told.push_str(&format!("\n  in {place}{line}"));
        }
        told
    }
}

/// The module that a build keeps beside the one without debug information.
pub fn with_debug_information(module: &Path) -> PathBuf {
    let mut path = module.as_os_str().to_owned();
    path.push(".debug");
    path.into()
}

/// `my_rng.c:23`, as addr2line of the guest's root says it.
fn source_line(module: &Path, place: &str) -> Option<String> {
    let roots = &environment::get().ok()?.roots;
    let mut ask = roots.command(&format!("usr/bin/{}", roots.arch.tool("addr2line")));
    ask.arg("-e").arg(module).arg(place);
    let said = process::output("addr2line", &mut ask).ok()?;
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().next()?.split(" (").next()?.trim();
    // Where the build had it.
    let line = line.strip_prefix("/work/").unwrap_or(line);
    (!line.starts_with("??")).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "\
[    1.0] my_rng: loaded\n\
[    9.1] BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
[    9.1] #PF: supervisor read access in kernel mode\n\
[    9.1] Oops: Oops: 0000 [#1] PREEMPT SMP NOPTI\n\
[    9.1] RIP: 0010:my_ioctl+0x5f/0x90 [my_rng]\n\
[    9.1] Code: 00 00 [12] 00\n\
[    9.1] Call Trace:\n\
[    9.1]  <TASK>\n\
[    9.1]  ? my_helper+0x10/0x20 [my_rng]\n\
[    9.1]  __x64_sys_ioctl+0x97/0xc0\n\
[    9.1] Modules linked in: my_rng(OE)\n\
[    9.1] ---[ end trace 0000000000000000 ]---\n\
[    9.1] RIP: 0010:my_ioctl+0x5f/0x90 [my_rng]\n";

    #[test]
    fn a_place_in_a_module_is_found_on_arm64() {
        let console = "[    9.1] Unable to handle kernel NULL pointer dereference at virtual address 0\n\
                       [    9.1] pc : my_ioctl+0x5c/0x90 [my_rng]\n";
        let oops = first(console).expect("there is one");
        assert!(oops.said.starts_with("Unable to handle kernel NULL"), "{}", oops.said);
        assert_eq!(oops.places, ["my_ioctl+0x5c"]);
    }

    #[test]
    fn the_first_line_and_the_places_in_the_module_are_told() {
        let oops = first(CONSOLE).expect("there is one");
        assert_eq!(oops.said, "BUG: kernel NULL pointer dereference, address: 0000000000000000");
        assert_eq!(oops.places, ["my_ioctl+0x5f"], "what is only guessed is left out");
        assert!(oops.told(None).ends_with("\n  in my_ioctl+0x5f"));
        assert_eq!(first("[    1.0] my_rng: a BUG: here\n"), None);
    }
}
