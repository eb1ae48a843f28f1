//! The `lab` program itself, as `scripts/lab.sh` starts it: its answers, its ends, and what is left
//! when it is interrupted.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lab::{Arch, environment, lock, packages, paths, process, slots};
use rustix::process::{Pid, Signal, kill_process};

use crate::say;

mod container;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
/// Its processes have inherited this, with a value of the run's own, and so are found again.
const MARK: &str = "LAB_TEST_RUN";
/// How long anything may take on a loaded machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(180);

/// How long the program may run. Then it is killed: a test that waits for it fails and does not hang.
const LIFETIME: Duration = Duration::from_secs(900);

/// The right to run the program: one at a time, and not beside too many guests of other tests.
struct Turn {
    _alone: MutexGuard<'static, ()>,
    _slot: slots::Slot,
}

/// Waits for the right, and for the environment to be there.
fn turn() -> Turn {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    environment::get().expect("the lab's environment can be made");
    Turn { _alone: alone, _slot: slots::wait() }
}

/// What the program reads.
#[derive(Debug, Clone, Copy)]
enum Input<'text> {
    /// It ends at once.
    Nothing,
    /// A user types this, and no more.
    Typed(&'text str),
}

/// The program, running.
struct Lab {
    child: Child,
    typing: Option<ChildStdin>,
    mark: String,
    sockets_before: BTreeSet<PathBuf>,
    /// Gone with this.
    _alive: Sender<()>,
}

/// What it left.
struct Ended {
    status: ExitStatus,
    out: String,
    err: String,
}

impl Lab {
    fn start(command: &mut Command, input: Input<'_>) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now = now.expect("it is after 1970").as_nanos();
        let mark = format!("{MARK}={}-{now}", std::process::id());
        let (variable, value) = mark.split_once('=').expect("made with one");
        command.env(variable, value);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let sockets_before = sockets();
        let mut child = command.spawn().expect("the program can be started");
        let mut pipe = child.stdin.take().expect("it is a pipe");
        let typing = match input {
            Input::Nothing => None,
            Input::Typed(text) => pipe.write_all(text.as_bytes()).map(|()| pipe).ok(),
        };
        let (alive, gone) = channel();
        let pid = Pid::from_child(&child);
        std::thread::spawn(move || {
            if gone.recv_timeout(LIFETIME) == Err(RecvTimeoutError::Timeout) {
                // It may have ended.
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Self { child, typing, mark, sockets_before, _alive: alive }
    }

    /// Waits until it says something on standard error.
    fn wait_for(&mut self, words: &str) -> String {
        let mut said = String::new();
        let mut err = BufReader::new(self.child.stderr.as_mut().expect("it is a pipe"));
        while !said.contains(words) {
            let count = err.read_line(&mut said).expect("it says text");
            assert_ne!(count, 0, "it ended without saying {words:?}: {said}");
        }
        said
    }

    fn press_enter(&mut self) {
        let typing = self.typing.as_mut().expect("its input has not ended");
        typing.write_all(b"\n").expect("it reads what is typed");
    }

    fn interrupt(&self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process has an id"), Signal::INT).expect("it still runs");
    }

    /// Waits for its end, and checks that nothing is left of it.
    fn end(mut self) -> Ended {
        let mut pipe = self.child.stdout.take().expect("it is a pipe");
        let out = std::thread::spawn(move || read(&mut pipe));
        let err = read(self.child.stderr.as_mut().expect("it is a pipe"));
        let out = out.join().expect("reading does not panic");
        let status = self.child.wait().expect("it can be waited for");
        let begun = Instant::now();
        // The kernel kills its processes when it ends, which takes a moment.
        while !self.processes().is_empty() {
            assert!(
                begun.elapsed() < WAIT_TIMEOUT,
                "these are left: {:?}\n{err}",
                self.processes()
            );
            std::thread::sleep(process::POLL);
        }
        let left: Vec<_> = sockets().difference(&self.sockets_before).cloned().collect();
        assert!(left.is_empty(), "these sockets are left: {left:?}");
        Ended { status, out, err }
    }

    /// The command lines of its processes.
    fn processes(&self) -> Vec<String> {
        let text = |path: PathBuf| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let folders = fs::read_dir("/proc").expect("there is /proc").flatten();
        folders
            .map(|entry| entry.path())
            // A process that has ended has no environment any more.
            .filter(|folder| text(folder.join("environ")).split(' ').any(|word| word == self.mark))
            .map(|folder| text(folder.join("cmdline")))
            .collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(pipe: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes).expect("a pipe can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The sockets in the folders of runs that are not on.
fn sockets() -> BTreeSet<PathBuf> {
    let inside = |folder: &Path| fs::read_dir(folder).into_iter().flatten().flatten();
    inside(&paths::lab().join("run"))
        .filter(|run| run.file_name().to_string_lossy().starts_with("shell"))
        .filter(|run| fs::File::open(run.path()).is_ok_and(|folder| lock::try_exclusive(&folder)))
        .flat_map(|run| inside(&run.path()).collect::<Vec<_>>())
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_socket()))
        .map(|entry| entry.path())
        .collect()
}

fn run(options: &[&str], input: Input<'_>) -> Ended {
    say(&format!("lab {options:?} with {input:?}"));
    Lab::start(Command::new(LAB).args(options), input).end()
}

#[test]
fn the_doctor_names_qemu_and_the_accelerator() {
    let _turn = turn();
    let ended = run(&["--doctor"], Input::Nothing);
    assert!(ended.status.success(), "{}{}", ended.out, ended.err);
    let root = format!("  yes    {} is of trixie: ", packages::guest(Arch::guest()).name);
    for words in
        ["  yes    QEMU: QEMU ", "  yes    guest: ", ", kernels ", &root, "KVM: accelerator "]
    {
        assert!(ended.out.contains(words), "no {words:?} in {}", ended.out);
    }
}

#[test]
fn the_shell_ends_with_its_input_the_shell_and_the_guest() {
    let _turn = turn();
    for input in [Input::Typed("exit\n"), Input::Nothing, Input::Typed("poweroff -f\n")] {
        let ended = run(&["--shell"], input);
        let said = format!("{}{}", ended.out, ended.err);
        assert!(ended.status.success(), "{}: {said}", ended.status);
        assert!(said.contains("the guest and the server are ended"), "{said}");
    }
}

#[test]
fn the_shell_has_the_users_program_and_driver_and_commands_for_registers() {
    let _turn = turn();
    let app = paths::checkout().join("checker/submissions/apps/correct-decimal/main.c");
    let driver = paths::checkout().join("checker/submissions/drivers/correct-managed");
    let options =
        ["--shell", "--watch", "--devices", "2", "--driver", driver.to_str().expect("UTF-8")];
    let options = [&options[..], &["--app", app.to_str().expect("UTF-8")]].concat();
    let typed = "./main | head -n 1; reg SEED 1; reg RANDOM; devmem $BAR0 32; \
                 SLOT=00:05.0 reg SEED; cut -d' ' -f1 /proc/modules; exit\n";
    let ended = run(&options, Input::Typed(typed));
    assert!(ended.status.success(), "{}{}", ended.out, ended.err);
    let said: Vec<&str> = ended.out.lines().map(str::trim_end).collect();
    // The first number of seed 42, and two of seed 1.
    let wanted = ["71876166", "0x6B8B4567", "0x327B23C6", "0x00000000", "my_rng_pci"];
    let mut lines = said.iter();
    for words in wanted {
        assert!(lines.any(|line| *line == words), "no {words:?} in {}{}", ended.out, ended.err);
    }
}

#[test]
fn interrupted_at_any_moment_it_leaves_nothing_and_the_next_run_works() {
    let _turn = turn();
    for moment in ["", "booting the guest", "the guest is up"] {
        say(&format!("interrupting the lab after it said {moment:?}"));
        // A shell has what it starts in the background ignore SIGINT, and these tests with it.
        let mut command = Command::new("env");
        command.args(["--default-signal=INT", LAB, "--shell"]);
        let mut lab = Lab::start(&mut command, Input::Typed(""));
        lab.wait_for(moment);
        let processes = lab.processes();
        let all = ["my-rng-server", "qemu"]
            .iter()
            .all(|name| processes.iter().any(|command| command.contains(name)));
        assert!(all || moment != "the guest is up", "only found {processes:?}");
        lab.interrupt();
        let ended = lab.end();
        // Before it has set up its handler, the signal itself ends it.
        let interrupted = ended.status.code().map(|code| code - 128).or(ended.status.signal());
        assert_eq!(interrupted, Some(Signal::INT.as_raw()), "{}{}", ended.status, ended.err);
    }
    let ended = run(&["--shell"], Input::Typed("uname -sr; exit\n"));
    assert!(ended.status.success(), "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("\nLinux 6."), "{}", ended.out);
}

#[test]
fn with_debug_a_guest_survives_a_device_that_is_stopped_in_a_register_read() {
    let _turn = turn();
    // How long the guest has waited is its own to say: it may have come late to the read.
    let read = "begun=$(cut -d. -f1 /proc/uptime); reg SEED 1; devmem $BAR0 32; \
                echo waited $(($(cut -d. -f1 /proc/uptime) - begun)) s";
    for stop in [10, 40, 160].map(Duration::from_secs) {
        say(&format!("stopping the device for {stop:?}"));
        let mut command = Command::new(LAB);
        command.args(["--debug", "--run", read]).env("GENERATOR", "glibc");
        let mut lab = Lab::start(&mut command, Input::Typed(""));
        let said = lab.wait_for("press Enter");
        let pid = said.split_once("gdb -p ").and_then(|(_, rest)| rest.lines().next());
        let pid = pid.and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        let pid = pid.unwrap_or_else(|| panic!("it does not say how to attach: {said}"));
        kill_process(pid, Signal::STOP).expect("the device runs");
        lab.press_enter();
        std::thread::sleep(stop);
        kill_process(pid, Signal::CONT).expect("the device is still there");
        let ended = lab.end();
        assert!(ended.status.success(), "{}{}", ended.out, ended.err);
        assert!(ended.out.contains("0x6B8B4567"), "{}{}", ended.out, ended.err);
        let waited = ended.out.lines().find_map(|line| line.strip_prefix("waited "));
        let waited: u64 = waited
            .and_then(|waited| waited.strip_suffix(" s")?.parse().ok())
            .unwrap_or_else(|| panic!("{}{}", ended.out, ended.err));
        if waited > 6 {
            return;
        }
    }
    panic!("the guest never came to the read in time");
}

#[test]
fn without_a_network_and_packages_it_says_what_it_could_not_fetch() {
    let _turn = turn();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut command = Command::new("unshare");
    if !process::is_root() {
        command.arg("--map-current-user");
    }
    command.args(["--net", "--", LAB]).env(paths::VARIABLE, folder.path());
    let ended = Lab::start(&mut command, Input::Nothing).end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.err);
    let error: Vec<&str> = ended.err.lines().filter(|line| line.starts_with("lab: ")).collect();
    assert_eq!(error.len(), 1, "{}", ended.err);
    assert!(error[0].contains("Debian packages"), "{}", ended.err);
    let to_do = ["Is there a network? Then run this again", "Install the packages mmdebstrap"];
    assert!(to_do.iter().any(|words| ended.err.contains(words)), "{}", ended.err);
    let left = fs::read_dir(folder.path()).expect("it is there").flatten();
    let left: Vec<_> = left.filter(|entry| entry.path().is_dir()).map(|dir| dir.path()).collect();
    assert!(left.is_empty(), "these are left: {left:?}");
}

/// Makes $1 read-only, as another user's folder is, and runs the rest.
const READ_ONLY: &str = r#"set -eu
mount --bind "$1" "$1"
mount -o remount,bind,ro "$1"
shift
exec "$@""#;

/// The program, to which the packages are read-only and belong to another user.
fn beside_another_users_packages(cache: &Path) -> Command {
    let mut command = Command::new("unshare");
    if !process::is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "--", "sh", "-c", READ_ONLY, "sh"]).arg(paths::packages()).arg(LAB);
    command.env(paths::VARIABLE, paths::packages()).env("XDG_CACHE_HOME", cache);
    command
}

#[test]
fn packages_of_another_user_are_enough_and_what_is_made_goes_to_the_cache() {
    let _turn = turn();
    let cache = tempfile::tempdir().expect("a folder can be made");
    let mut command = beside_another_users_packages(cache.path());
    command.arg("--driver").arg(paths::checkout().join("guest-driver"));
    command.args(["--run", "cat /sys/module/my_rng/initstate"]);
    let recording = cache.path().join("my-rng.rec");
    command.arg("--record").arg(&recording);
    let ended = Lab::start(&mut command, Input::Nothing).end();
    assert!(ended.status.success(), "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("live"), "{}", ended.out);
    let trace = vfio_user_trace::Trace::read(&recording).expect("it is a recording");
    assert_eq!(trace.file.sessions(), 1, "the guest's");
    let made = fs::read_dir(cache.path().join("my-rng-lab")).expect("it is there").flatten();
    let made: Vec<PathBuf> = made.map(|entry| entry.path()).collect();
    assert!(made.iter().any(|folder| folder.join("modules").is_dir()), "{made:?}");
    let mut command = beside_another_users_packages(cache.path());
    let ended = Lab::start(command.arg("--update"), Input::Nothing).end();
    assert!(ended.err.contains("belongs to another user, who has to update it"), "{}", ended.err);
}

#[test]
fn a_qemu_is_named_from_the_users_folder_or_found_before_the_labs_own() {
    let _turn = turn();
    let environment = environment::get().expect("the lab's environment can be made");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let name = Arch::guest().qemu();
    let wrapper = folder.path().join(name);
    let start = environment.qemu.command();
    // Quoted for a shell: the checkout's path may have blanks.
    let words = std::iter::once(start.get_program()).chain(start.get_args());
    let words: Vec<_> =
        words.map(|word| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"))).collect();
    let script = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
    fs::write(&wrapper, script).expect("a script can be written");
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("it is ours");

    let doctor = |variable: &str, value: &str| {
        let mut command = Command::new(LAB);
        command.arg("--doctor").current_dir(folder.path()).env("ACCEL", "tcg");
        let ended =
            Lab::start(command.env_remove("QEMU").env(variable, value), Input::Nothing).end();
        assert!(ended.status.success(), "{}{}", ended.out, ended.err);
        ended.out
    };
    let named = doctor("QEMU", &format!("./{name}"));
    assert!(named.contains("(named by QEMU=)"), "{named}");
    let path = std::env::var("PATH").unwrap_or_default();
    let found = doctor("PATH", &format!("{}:{path}", folder.path().display()));
    assert!(found.contains("(this system's, has vfio-user-pci)"), "{found}");

    say("booting a guest on the named QEMU");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/lab.sh");
    let mut command = Command::new(script);
    command.arg("--shell").current_dir(folder.path()).env("ACCEL", "tcg");
    command.env("QEMU", format!("./{name}"));
    let ended = Lab::start(&mut command, Input::Typed("exit\n")).end();
    assert!(ended.status.success(), "{}{}", ended.out, ended.err);
    assert!(ended.err.contains("(named by QEMU=)"), "{}", ended.err);
}
