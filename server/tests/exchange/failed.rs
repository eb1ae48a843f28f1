//! An exchange that fails: the old process goes on, and says why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use my_rng_model::generator::{Generator, Glibc};

use crate::daemon::BINARY;
use crate::exchanged::Exchanged;

#[test]
fn a_new_process_that_is_not_ready_changes_nothing_for_the_guest() {
    let mut server =
        Exchanged::start(&["--generator", "glibc", "--seed", "1", "--sandbox-folder", "."]);
    let mut client = server.client();
    let mut numbers = Glibc::from_seed(1);
    let script = |name: &str, text: String| {
        let path = server.daemon().file(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    // One with another device, and one whose socket is another one.
    let other_device = script(
        "other-device",
        format!("exec {BINARY} --device virtio-rng -s {}", server.daemon().path().display()),
    );
    let other_socket = script("other-socket", format!("exec {BINARY} -s other"));
    let wrong_option = script("wrong-option", format!("exec {BINARY} --wrong"));
    let failures = [
        ("/nonexistent", "cannot start /nonexistent"),
        ("/bin/false", "the new process ended before it was ready"),
        (wrong_option.as_str(), "the new process ended before it was ready"),
        (other_device.as_str(), "of the new device differ from the old one's"),
        (other_socket.as_str(), "has a client, and the new process does not serve it"),
    ];
    for (binary, reason) in failures {
        let output = server.ask(&["--binary", binary]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(reason), "{binary}: {said}");
        assert_eq!(client.read_u32(0, 0), numbers.next_u32(), "{binary}");
        server.daemon().wait_for_log(reason);
    }
    server.exchange();
    assert_eq!(client.read_u32(0, 0), numbers.next_u32());
}

#[test]
fn a_new_process_that_hangs_is_ended_while_the_guest_is_served() {
    let server =
        Exchanged::start(&["--generator", "glibc", "--seed", "1", "--sandbox-folder", "."]);
    let mut client = server.client();
    let mut numbers = Glibc::from_seed(1);
    let path = server.daemon().file("hangs");
    fs::write(&path, "#!/bin/sh\necho $$ > pid\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let asking = thread::scope(|scope| {
        let asking = scope.spawn(|| server.ask(&["--binary", &path.display().to_string()]));
        while !asking.is_finished() {
            assert_eq!(client.read_u32(0, 0), numbers.next_u32());
            thread::sleep(Duration::from_millis(1));
        }
        asking.join().unwrap()
    });
    let said = String::from_utf8_lossy(&asking.stderr).into_owned();
    assert!(said.contains("the new process was not ready in time"), "{said}");
    let process = fs::read_to_string(server.daemon().file("pid")).unwrap();
    assert!(!fs::exists(format!("/proc/{}", process.trim())).unwrap(), "it is ended");
}

#[test]
fn a_daemon_with_a_vhost_user_guest_says_that_it_cannot_be_exchanged() {
    let server = Exchanged::configured(
        "control-socket = \"FOLDER/control\"\n[[guest]]\nname = \"a\"\nsocket = \"FOLDER/s\"\n\
         generator = \"glibc\"\nseed = 1\n[[guest]]\nname = \"v\"\nsocket = \"FOLDER/v\"\n\
         transport = \"vhost-user\"\ndevice = \"virtio-rng\"\n",
    );
    let mut client = server.client();
    let output = server.ask(&[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("\"v\": vhost-user guests cannot be handed over"), "{said}");
    assert_eq!(client.read_u32(0, 0), Glibc::from_seed(1).next_u32(), "it goes on");
}
