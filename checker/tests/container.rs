//! The checker in a plain container: without namespaces, mounts and most of root's capabilities.

use lab::{container, environment, paths, process, slots};

const CHECK: &str = env!("CARGO_BIN_EXE_check");

#[test]
fn a_driver_is_checked_and_the_user_told_what_protects_the_system() {
    // Only root can give its capabilities up.
    if !process::is_root() {
        return;
    }
    environment::get().expect("the lab's environment can be made");
    let _slot = slots::wait();
    let driver = paths::checkout().join("checker/submissions/drivers/correct-managed");
    let output = container::inside(|| {
        let mut command = container::command(CHECK);
        Ok(command.arg("--driver").arg(&driver).output()?)
    });
    let output = output.expect("system calls can be filtered");
    let said = String::from_utf8_lossy(&output.stderr);
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{said}");
    assert!(said.contains("this system does not allow namespaces"), "{said}");
    assert!(said.contains("a submission is built and run behind "), "{said}");
}
