//! Which files are replaced, and what does not keep the server waiting.

use std::os::unix::fs::{chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::mpsc::channel;

use super::*;

/// As long as a test waits for what takes no time.
const DEADLINE: Duration = Duration::from_secs(30);

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    (folder, path)
}

fn mode_of(path: &Path) -> u32 {
    path.symlink_metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn the_file_has_the_permissions_that_were_asked_for_and_goes_with_the_value() {
    let (folder, path) = folder();
    for mode in [0o600, 0o666, 0o000] {
        let bound = SocketFile::listen(&path, mode).unwrap();
        assert_eq!(mode_of(&path), mode);
        assert_eq!(folder.path().read_dir().unwrap().count(), 1, "nothing else is left");
        drop(bound);
        assert!(!path.exists());
    }
}

#[test]
fn a_socket_whose_backlog_is_full_is_in_use_and_not_waited_for() {
    let (_folder, path) = folder();
    let address = SocketAddrUnix::new(&path).unwrap();
    let silent = stream_socket().unwrap();
    bind(&silent, &address).unwrap();
    listen(&silent, 0).unwrap();
    let mut waiting = Vec::new();
    let full = loop {
        let client = stream_socket().unwrap();
        match connect(&client, &address) {
            Ok(()) => waiting.push(client),
            Err(errno) => break errno,
        }
    };
    assert_eq!(full, Errno::AGAIN);
    let (told, result) = channel();
    let thread = thread::spawn({
        let path = path.clone();
        move || told.send(SocketFile::listen(&path, 0o600).map(drop))
    });
    let result = result.recv_timeout(DEADLINE).expect("it hangs");
    assert!(matches!(result, Err(ServerError::InUse(_))), "{result:?}");
    thread.join().unwrap().unwrap();
    assert!(path.exists());
}

#[test]
fn a_socket_of_another_type_and_other_files_are_left_alone() {
    let (folder, path) = folder();
    let other_type = UnixDatagram::bind(&path).unwrap();
    assert!(matches!(SocketFile::listen(&path, 0o600), Err(ServerError::InUse(_))));
    drop(other_type);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let link = folder.path().join("link");
    symlink(&path, &link).unwrap();
    for taken in [&path, &link] {
        assert!(matches!(SocketFile::listen(taken, 0o600), Err(ServerError::NotASocket(_))));
    }
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_link_in_the_place_of_the_new_socket_is_not_followed() {
    let (folder, path) = folder();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "precious").unwrap();
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let _listener = UnixListener::bind(&path).unwrap();
    let bound = SocketFile::of(&path).unwrap();
    // The name is swapped when the socket is bound.
    let away = folder.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    symlink(&secret, &path).unwrap();
    bound.permissions().set(0o666).unwrap_err();
    SocketFile::of(&path).unwrap_err();
    assert_eq!(mode_of(&secret), 0o600);
    std::fs::rename(&away, &path).unwrap();
    bound.permissions().set(0o666).unwrap();
    assert_eq!(mode_of(&path), 0o666);
}

#[test]
fn the_lock_is_held_by_one_and_leaves_no_file() {
    let (folder, path) = folder();
    let lock = Lock::beside(&path).unwrap();
    assert!(Lock::attempt(&lock.path).unwrap().is_none());
    let name = lock.path.clone();
    drop(lock);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    // What a process that was killed has left behind is as good as a new one.
    std::fs::write(&name, "").unwrap();
    std::fs::set_permissions(&name, Permissions::from_mode(0o600)).unwrap();
    assert!(Lock::attempt(&name).unwrap().is_some());
}

#[test]
fn a_lock_that_its_holder_has_removed_is_not_taken() {
    let (_folder, path) = folder();
    let first = Lock::beside(&path).unwrap();
    let name = first.path.clone();
    // Opened while it was there, and locked when there is a new one in its place.
    let opened = File::open(&name).unwrap();
    drop(first);
    let second = Lock::attempt(&name).unwrap().unwrap();
    flock(&opened, FlockOperation::NonBlockingLockExclusive).unwrap();
    assert!(Lock::attempt(&name).unwrap().is_none(), "the second one's");
    drop(second);
}

#[test]
fn a_lock_of_another_user_is_neither_waited_for_nor_removed() {
    let (folder, path) = folder();
    let name = folder.path().join(".s.lock");
    let theirs = File::create(&name).unwrap();
    // To own a file for another user takes root; everyone else can leave it open to others.
    if chown(&name, Some(65534), None).is_err() {
        std::fs::set_permissions(&name, Permissions::from_mode(0o666)).unwrap();
    }
    flock(&theirs, FlockOperation::LockExclusive).unwrap();
    assert!(matches!(Lock::beside(&path), Err(LockError::Foreign(_))));
    let bound = SocketFile::listen(&path, 0o600).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(bound);
    assert!(name.exists());
}
