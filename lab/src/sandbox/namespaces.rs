//! The sandbox that bubblewrap makes of namespaces.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use super::{BUSYBOX, Place, SANDBOX_USERS, Sandbox};
use crate::root;

/// How much the file systems in memory hold: /tmp and /dev/shm.
const MEMORY_FILES: &str = "268435456";

impl Sandbox {
    /// The command up to the program that is run inside.
    pub(super) fn in_namespaces(&self) -> Command {
        let root = &self.build_root;
        let mut command = root::command(root, &root.join("usr/bin/bwrap"));
        command.args(["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]);
        command.args(["--unshare-cgroup-try", "--die-with-parent", "--new-session"]);
        command.args(["--clearenv", "--cap-drop", "ALL"]);
        if self.user.is_some() {
            // To become that user with, which loses them.
            command.args(["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]);
        } else {
            let user = SANDBOX_USERS.start.to_string();
            command.args(["--unshare-user", "--disable-userns"]);
            command.args(["--uid", &user, "--gid", &user]);
        }
        command.args(["--setenv", "HOME", "/tmp", "--setenv", "LC_ALL", "C"]);
        for (name, value) in &self.environment {
            command.arg("--setenv").args([name, value]);
        }
        command.args(["--proc", "/proc", "--dev", "/dev"]);
        for folder in ["/tmp", "/dev/shm"] {
            command.args(["--perms", "1777", "--size", MEMORY_FILES, "--tmpfs", folder]);
        }
        for place in &self.places {
            add(&mut command, place);
        }
        command.arg("--ro-bind").arg(root.join("usr/bin/busybox")).arg(BUSYBOX);
        command.args(["--remount-ro", "/dev", "--remount-ro", "/"]);
        command.arg("--chdir").arg(&self.folder).arg("--");
        if let Some(user) = self.user {
            let user = user.to_string();
            command.args([BUSYBOX, "nsenter", "-F", "-S", &user, "-G", &user]);
        }
        command
    }
}

fn add(command: &mut Command, place: &Place) {
    match place {
        Place::Link { target, inside } => {
            command.arg("--symlink").args([target, inside]);
        }
        Place::Bound { path, inside, writable } => {
            // bubblewrap itself would make the folders above so that only root may enter.
            let mut above: Vec<&Path> = inside.ancestors().skip(1).collect();
            above.pop();
            for folder in above.into_iter().rev() {
                command.args(["--dir".as_ref(), folder.as_os_str()]);
            }
            let kind: &OsStr = if *writable { "--bind" } else { "--ro-bind" }.as_ref();
            command.args([kind, path.as_os_str(), inside.as_os_str()]);
        }
    }
}
