//! A Debian mirror of small packages of the test's own, served on loopback to the real apt.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use lab::process;

/// A package.
#[derive(Debug, Clone, Default)]
pub struct Package {
    pub name: String,
    pub version: String,
    pub depends: String,
    /// Paths and what is in them; all of them are programs.
    pub files: Vec<(String, String)>,
}

impl Package {
    pub fn new(name: &str, version: &str) -> Self {
        Self { name: name.to_owned(), version: version.to_owned(), ..Self::default() }
    }

    pub fn depends(mut self, on: &str) -> Self {
        on.clone_into(&mut self.depends);
        self
    }

    pub fn file(mut self, path: &str, content: &str) -> Self {
        self.files.push((path.to_owned(), content.to_owned()));
        self
    }
}

/// Names of files, and how many requests for them are still to be answered with 404.
type Missing = Arc<Mutex<HashMap<String, usize>>>;

/// The mirror; its files go with the value.
pub struct Mirror {
    folder: tempfile::TempDir,
    address: SocketAddr,
    missing: Missing,
}

impl Mirror {
    /// An empty one that answers requests.
    pub fn serve() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it has an address");
        let missing = Missing::default();
        let (root, absent) = (folder.path().to_owned(), Arc::clone(&missing));
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (root, absent) = (root.clone(), Arc::clone(&absent));
                std::thread::spawn(move || answer(&stream, &root, &absent));
            }
        });
        Self { folder, address, missing }
    }

    /// Its address, as `LAB_MIRROR` has it.
    pub fn url(&self) -> OsString {
        format!("[trusted=yes] http://{}", self.address).into()
    }

    /// Its address with one more suite, as Debian's own mirrors come with security updates.
    pub fn url_with(&self, suite: &str) -> OsString {
        let url = self.url().into_string().expect("it is ASCII");
        format!("{url} {suite} main\ndeb {url}").into()
    }

    /// Puts a suite's packages on it.
    pub fn suite(&self, name: &str, packages: &[Package]) {
        self.suite_until(name, packages, None);
    }

    /// The same, with a date until which the lists are valid.
    pub fn suite_until(&self, name: &str, packages: &[Package], until: Option<&str>) {
        let pool = self.folder.path().join("pool");
        fs::create_dir_all(&pool).expect("writable");
        let list: String = packages.iter().map(|package| stanza(package, &pool)).collect();
        let dist = self.folder.path().join("dists").join(name);
        let binary = dist.join("main/binary-amd64");
        fs::create_dir_all(&binary).expect("writable");
        fs::write(binary.join("Packages"), &list).expect("writable");
        let sum = sha256(&binary.join("Packages"));
        let until = until.map(|date| format!("Valid-Until: {date}\n")).unwrap_or_default();
        let release = format!(
            "Suite: {name}\nCodename: {name}\nDate: Thu, 01 Jan 2026 00:00:00 UTC\n{until}\
             Architectures: amd64\nComponents: main\nSHA256:\n {sum} {} main/binary-amd64/Packages\n",
            list.len()
        );
        fs::write(dist.join("Release"), release).expect("writable");
    }

    /// Has the mirror answer so many requests for a package with 404, although it lists it.
    pub fn lose(&self, package: &str, times: usize) {
        self.missing.lock().expect("nothing panics").insert(package.to_owned(), times);
    }
}

/// Builds a package, and describes it as a list of packages does.
fn stanza(package: &Package, pool: &Path) -> String {
    let Package { name, version, depends, .. } = package;
    let depends = if depends.is_empty() { String::new() } else { format!("Depends: {depends}\n") };
    let fields = format!(
        "Package: {name}\nVersion: {version}\nArchitecture: amd64\nMaintainer: Lab <lab@localhost>\n\
         {depends}Description: a package of a test\n"
    );
    let built = built(package, &fields);
    // Without the epoch, as in Debian's pool.
    let (_, upstream) = version.split_once(':').unwrap_or(("", version));
    let file_name = format!("{name}_{upstream}_amd64.deb");
    fs::copy(&built, pool.join(&file_name)).expect("writable");
    let size = fs::metadata(&built).expect("it is there").len();
    format!("{fields}Filename: pool/{file_name}\nSize: {size}\nSHA256: {}\n\n", sha256(&built))
}

/// The package's file, made on first use: many mirrors have the same packages.
fn built(package: &Package, fields: &str) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    (fields, &package.files).hash(&mut hasher);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    let deb = folder.join(format!("{:016x}.deb", hasher.finish()));
    if deb.is_file() {
        return deb;
    }
    fs::create_dir_all(&folder).expect("writable");
    let stage = tempfile::tempdir_in(&folder).expect("a folder can be made");
    // What dpkg-deb packs has to be readable, whatever the folder's own permissions.
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    fs::create_dir(stage.path().join("DEBIAN")).expect("writable");
    fs::write(stage.path().join("DEBIAN/control"), fields).expect("writable");
    for (path, content) in &package.files {
        let path = stage.path().join(path);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("writable");
        fs::write(&path, content).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }
    let partial = stage.path().with_extension("deb");
    let mut build = Command::new("dpkg-deb");
    build.args(["--root-owner-group", "-Znone", "--build"]).arg(stage.path()).arg(&partial);
    process::output("dpkg-deb", &mut build).expect("it packs");
    // Another test may have made the same: then its file stays.
    if fs::hard_link(&partial, &deb).is_err() {
        assert!(deb.is_file(), "{} cannot be made", deb.display());
    }
    fs::remove_file(&partial).expect("it is ours");
    deb
}

fn sha256(path: &Path) -> String {
    let said = process::output("sha256sum", Command::new("sha256sum").arg(path)).expect("it sums");
    String::from_utf8_lossy(&said).split(' ').next().expect("the sum comes first").to_owned()
}

/// Answers one request and ends the connection.
fn answer(mut stream: &TcpStream, root: &Path, missing: &Missing) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(request) = lines.next() else {
        return;
    };
    while lines.next().is_some_and(|line| !line.is_empty()) {}
    let path = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/');
    // apt escapes these in names.
    let path = path.replace("%2b", "+").replace("%7e", "~");
    let found: Option<Vec<u8>> = if is_missing(&path, missing) {
        None
    } else {
        fs::read(PathBuf::from(root).join(&path)).ok()
    };
    let (status, body) = match found {
        Some(body) => ("200 OK", body),
        None => ("404 Not Found", Vec::new()),
    };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    // apt may have gone away.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body));
}

fn is_missing(path: &str, missing: &Missing) -> bool {
    let mut missing = missing.lock().unwrap_or_else(PoisonError::into_inner);
    let name = path.rsplit('/').next().unwrap_or_default();
    let left = missing.iter_mut().find(|(package, _)| name.starts_with(&format!("{package}_")));
    match left {
        Some((_, left)) if *left > 0 => {
            *left -= 1;
            true
        }
        _ => false,
    }
}
