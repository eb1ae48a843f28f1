//! The course in a plain container: without namespaces, mounts and most of root's capabilities.

use std::fs;

use course::workspace;
use lab::{container, environment, paths, process, slots};

const COURSE: &str = env!("CARGO_BIN_EXE_course");
/// A step whose check builds a kernel module and boots a guest.
const STEP: &str = "06-driver";

#[test]
fn a_driver_passes_its_step() {
    // Only root can give its capabilities up.
    if !process::is_root() {
        return;
    }
    environment::get().expect("the lab's environment can be made");
    let _slot = slots::wait();
    let home = tempfile::tempdir().expect("a folder can be made");
    let folder = home.path().join(workspace::DEFAULT_FOLDER).join(STEP);
    fs::create_dir_all(&folder).expect("writable");
    let solution = paths::checkout().join("course/steps").join(STEP).join("solution/my_rng.c");
    fs::copy(solution, folder.join("my_rng.c")).expect("writable");
    let output = container::inside(|| {
        let mut command = container::command(COURSE);
        command.args(["check", STEP]).current_dir(&home).env("XDG_STATE_HOME", home.path());
        Ok(command.output()?)
    });
    let output = output.expect("system calls can be filtered");
    let said = String::from_utf8_lossy(&output.stderr);
    let page = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{page}{said}");
    assert!(said.contains("this system does not allow namespaces"), "{said}");
}
