//! The lab in a plain container: without namespaces, mounts and most of root's capabilities.

use lab::container;

use super::*;

#[test]
fn a_plain_container_builds_a_driver_and_boots_a_guest() {
    if !process::is_root() {
        return;
    }
    if Arch::guest().is_foreign() {
        return say("left out: programs for another architecture are built in namespaces only");
    }
    let _turn = turn();
    let driver = paths::checkout().join("guest-driver");
    let ended = container::inside(|| {
        let mut command = container::command(LAB);
        command.arg("--driver").arg(&driver).args(["--run", "cat /sys/module/my_rng/initstate"]);
        Ok(Lab::start(&mut command, Input::Nothing).end())
    });
    let ended = ended.expect("system calls can be filtered");
    assert!(ended.status.success(), "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("live"), "{}{}", ended.out, ended.err);
    let said = ended.err.matches("this system does not allow namespaces").count();
    assert!(said > 0, "{}", ended.err);
}
