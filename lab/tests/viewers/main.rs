//! What others make of a recording: Wireshark with our dissector, and a browser with our page.
//!
//! The programs are Debian's, in a root of their own that the first run fetches: `scripts/soak.sh
//! viewers` runs this.

mod recordings;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use lab::sandbox::{Limits, Outcome, Sandbox};
use lab::{lock, packages, paths};
use vfio_user_trace::{Entry, Trace, html, pcapng};

/// Where the files of a test are for the programs.
const INSIDE: &str = "/run/test";
/// On a loaded machine.
const LIMITS: Limits = Limits { time: Duration::from_secs(300), ..Limits::BUILD };
/// One test fetches the root, the others wait.
static FETCH: Mutex<()> = Mutex::new(());

/// A folder with files for the programs.
struct Viewers {
    folder: tempfile::TempDir,
    root: PathBuf,
}

impl Viewers {
    fn new() -> Self {
        let _one = FETCH.lock().expect("no test panics while it fetches");
        let viewers = packages::viewers();
        let root = if viewers.ready() {
            viewers.path()
        } else {
            let right = lock::preparing().expect("the lab can prepare");
            viewers.ensure(&right).expect("Debian has the programs")
        };
        let folder = paths::lab().join("run");
        fs::create_dir_all(&folder).expect("writable");
        Viewers { folder: tempfile::tempdir_in(folder).expect("writable"), root }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Outcome {
        let sandbox = Sandbox::empty(LIMITS).expect("a sandbox can be had");
        let sandbox = sandbox
            .programs_of(&self.root)
            .shows(&self.root.join("etc/fonts"), Path::new("/etc/fonts"))
            .writable(self.folder.path(), Path::new(INSIDE))
            .folder(Path::new(INSIDE))
            // A browser reserves as much as it likes.
            .reserves_memory();
        let outcome = sandbox.run(program, arguments).expect("it can be started");
        assert!(outcome.end.success(), "{}: {}", outcome.end.describe(), outcome.text());
        outcome
    }

    /// Runs the browser on a page.
    fn browse(&self, page: &str, options: &[&str]) -> String {
        let address = format!("file://{INSIDE}/{page}");
        let fixed = ["--no-sandbox", "--disable-gpu", "--window-size=1200,760"];
        let arguments: Vec<&str> =
            fixed.into_iter().chain(options.iter().copied()).chain([address.as_str()]).collect();
        let outcome = self.run("/usr/lib/chromium/chromium-headless-shell", &arguments);
        String::from_utf8_lossy(&outcome.output).into_owned()
    }

    fn page(&self, name: &str, trace: &Trace) {
        let entries: Vec<&Entry> = trace.entries.iter().collect();
        fs::write(self.file(name), html::write(trace, &entries, "my-rng.rec")).expect("writable");
    }
}

#[test]
fn wireshark_shows_messages_by_their_names_and_fields() {
    let viewers = Viewers::new();
    let trace = recordings::driver(20);
    let entries: Vec<&Entry> = trace.entries.iter().collect();
    fs::write(viewers.file("file.pcapng"), pcapng::write(&trace, &entries)).expect("writable");
    fs::write(viewers.file("vfio-user.lua"), pcapng::DISSECTOR).expect("writable");
    let shown = |filter: &str, fields: &[&str]| {
        let mut arguments = vec!["-X", "lua_script:vfio-user.lua", "-r", "file.pcapng"];
        arguments.extend(["-Y", filter, "-T", "fields"]);
        fields.iter().for_each(|field| arguments.extend(["-e", field]));
        let outcome = viewers.run("/usr/bin/tshark", &arguments);
        String::from_utf8_lossy(&outcome.output).into_owned()
    };
    let fields = ["vfio_user.command", "vfio_user.region", "vfio_user.offset", "vfio_user.value"];
    let writes = shown("vfio_user.command == 10 && vfio_user.type == 0", &fields);
    assert_eq!(writes.lines().next(), Some("10\t0\t0x0000000000000004\t0x0000000000000001"));
    let random = shown("vfio_user.command == 9 && vfio_user.type == 1", &["_ws.col.info"]);
    assert_eq!(random.lines().next(), Some("REGION_READ reply BAR0+0x0 = 0x6b8b4567"), "{random}");
    let comments = shown("frame.comment contains \"SEED write\"", &["frame.comment"]);
    assert!(comments.starts_with("SEED write 4 <- 0x1"), "{comments}");
    assert_eq!(shown("_ws.malformed || _ws.lua.error || !vfio_user", &["frame.number"]), "");
}

/// An attribute of the page's body.
fn attribute<'p>(page: &'p str, name: &str) -> &'p str {
    let begin = page.find(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name}: {page}"));
    let value = &page[begin + name.len() + 3..];
    value.split_once('"').map_or("", |(value, _)| value)
}

/// The median time of a frame in ms.
fn frame(page: &str) -> f64 {
    let frames = attribute(page, "data-frames");
    let median = frames.split_whitespace().nth(1).expect("a median");
    median.parse().expect("a number")
}

#[test]
fn a_page_of_a_hundred_thousand_entries_is_drawn_as_fast_as_a_short_one() {
    let viewers = Viewers::new();
    let (short, long) = (recordings::driver(1_000), recordings::driver(100_000));
    viewers.page("short.html", &short);
    viewers.page("long.html", &long);
    let show = |page: &str| viewers.browse(&format!("{page}#measure"), &["--dump-dom"]);
    let (short_page, page) = (show("short.html"), show("long.html"));
    assert_eq!(attribute(&page, "data-entries"), long.entries.len().to_string());
    let found = attribute(&page, "data-found");
    let random = long.entries.iter().filter(|entry| entry.to_string().contains("RANDOM")).count();
    assert_eq!(found, format!("{random} found"));
    println!(
        "a frame: {}; {} of a short page",
        attribute(&page, "data-frames"),
        frame(&short_page)
    );
    // What is drawn depends on the width of the window.
    assert!(frame(&page) <= 20.0 * frame(&short_page).max(0.5), "{page:.300}");
}

/// `UPDATE_SCREENSHOT=1` puts it into the docs.
#[test]
fn a_screenshot_shows_lanes_and_rows() {
    let viewers = Viewers::new();
    viewers.page("page.html", &recordings::driver(300));
    viewers.browse("page.html", &["--screenshot=light.png"]);
    viewers.browse("page.html#dark", &["--screenshot=dark.png"]);
    let [light, dark] = ["light.png", "dark.png"].map(|name| {
        let image = fs::read(viewers.file(name)).expect("a screenshot was made");
        assert!(image.starts_with(b"\x89PNG") && image.len() > 20_000, "{} bytes", image.len());
        image
    });
    assert_ne!(light, dark);
    if std::env::var_os("UPDATE_SCREENSHOT").is_some() {
        fs::write(paths::checkout().join("docs/timeline.png"), light).expect("writable");
    }
}
