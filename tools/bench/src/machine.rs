//! On what it was measured: the machine, and the versions of all that took part.

use std::collections::BTreeMap;
use std::fs::{self, read_to_string};
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::during;
use crate::subject::Programs;

/// Crates among the peers whose versions are told.
const PEER_CRATES: [&str; 4] = ["smoltcp", "ipstack", "netstack-smoltcp", "tun-rs"];

/// Settings of the kernel that matter to a client on its sockets.
const SYSCTLS: [&str; 3] = ["tcp_rmem", "tcp_wmem", "tcp_timestamps"];

/// A machine and what runs on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// How many.
    pub cpus: usize,
    /// The kernel's version.
    pub kernel: String,
    /// Which build of ustack, see [`build`].
    pub build: String,
    /// Versions by name.
    pub versions: BTreeMap<String, String>,
    /// Settings of the kernel by name.
    pub sysctls: BTreeMap<String, String>,
}

impl Machine {
    /// This one.
    pub fn this(programs: &Programs) -> io::Result<Self> {
        let info = read_to_string("/proc/cpuinfo")?;
        let models = info
            .lines()
            .filter_map(|line| line.strip_prefix("model name"));
        let models: Vec<&str> = models.collect();
        let cpu = models
            .first()
            .map_or("unknown", |text| text.trim_start_matches(['\t', ' ', ':']));
        let virtual_one = info.contains(" hypervisor");
        let sysctl = |name: &str| {
            let value = read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap_or_default();
            (name.to_owned(), value.trim().replace('\t', " "))
        };
        Ok(Self {
            cpu: format!(
                "{cpu}{}",
                if virtual_one {
                    ", under a hypervisor"
                } else {
                    ""
                }
            ),
            cpus: std::thread::available_parallelism()?.get(),
            kernel: format!(
                "Linux {}",
                read_to_string("/proc/sys/kernel/osrelease")?.trim()
            ),
            build: build(&programs.ustack)?,
            versions: versions(programs),
            sysctls: SYSCTLS.map(sysctl).into(),
        })
    }
}

/// A name for what is under test: a hash of the program.
pub fn build(ustack: &Path) -> io::Result<String> {
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(ustack).map_err(during(ustack.display()))?);
    Ok(format!("{:016x}", hasher.finish()))
}

/// A source file that is younger than the program made of it, if there is one. What it is made of,
/// cargo has written down beside it.
pub fn newer_source(program: &Path) -> io::Result<Option<PathBuf>> {
    let built = fs::metadata(program)?.modified()?;
    let Ok(text) = read_to_string(program.with_extension("d")) else {
        return Ok(None);
    };
    let is_newer = |path: &PathBuf| {
        let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| modified > built)
    };
    Ok(sources(&text).into_iter().find(is_newer))
}

/// The files that a dependency file of make names.
fn sources(text: &str) -> Vec<PathBuf> {
    let (_, files) = text.split_once(": ").unwrap_or_default();
    let files = files.replace("\\ ", "\0");
    files
        .split_whitespace()
        .map(|file| file.replace('\0', " ").into())
        .collect()
}

fn versions(programs: &Programs) -> BTreeMap<String, String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut versions = BTreeMap::new();
    let mut add = |name: &str, version: Option<String>| {
        if let Some(version) = version {
            versions.insert(name.to_owned(), version);
        }
    };
    let ustack = programs.ustack.display().to_string();
    add("ustack", first_line(&[&ustack, "--version"]));
    let git = here.display().to_string();
    add(
        "commit",
        first_line(&[
            "git",
            "-C",
            &git,
            "describe",
            "--always",
            "--dirty",
            "--exclude=*",
        ]),
    );
    add("rustc", first_line(&["rustc", "--version"]));
    add(
        "wrk",
        first_line(&["wrk", "-v"]).and_then(|line| line.split(" [").next().map(str::to_owned)),
    );
    add("go", first_line(&["go", "version"]));
    let gvisor = [
        "dpkg-query",
        "--show",
        "--showformat",
        "${Version}",
        "golang-gvisor-gvisor-dev",
    ];
    add("gVisor", first_line(&gvisor));
    let lock = read_to_string(here.join("peers/Cargo.lock")).unwrap_or_default();
    for name in PEER_CRATES {
        add(name, locked(&lock, name));
    }
    versions
}

/// The first line that a command prints, if it can be run.
fn first_line(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The newest version that a lock file has of a crate; they are sorted.
fn locked(lock: &str, name: &str) -> Option<String> {
    let (_, after) = lock.rsplit_once(&format!("\nname = \"{name}\"\n"))?;
    let version = after.lines().next()?.strip_prefix("version = ")?;
    Some(version.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_a_lock_file() {
        let lock = "[[package]]\nname = \"smoltcp\"\nversion = \"0.12.0\"\n\n\
                    [[package]]\nname = \"smoltcp\"\nversion = \"0.14.0\"\n\n\
                    [[package]]\nname = \"smoltcp-nal\"\nversion = \"9.9.9\"\n";
        assert_eq!(locked(lock, "smoltcp").as_deref(), Some("0.14.0"));
        assert_eq!(locked(lock, "ipstack"), None);
    }

    #[test]
    fn a_program_of_nobody_has_no_version() {
        assert_eq!(first_line(&["/nonexistent/program"]), None);
        assert_eq!(
            first_line(&["echo", "1.0", "beta"]).as_deref(),
            Some("1.0 beta")
        );
    }

    #[test]
    fn a_program_older_than_its_sources_is_noticed() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = |name: &str| dir.path().join(name);
        let (source, program) = (path("a source.rs"), path("ustack"));
        fs::write(&program, "").expect("written");
        assert_eq!(newer_source(&program).expect("nobody says"), None);
        let escaped = source.display().to_string().replace(' ', "\\ ");
        let text = format!("{}: /nonexistent.rs {escaped}\n", program.display());
        fs::write(path("ustack.d"), text).expect("written");
        let write = |time| {
            let file = fs::File::create(&source).expect("created");
            file.set_modified(time).expect("dated");
        };
        let built = fs::metadata(&program).and_then(|metadata| metadata.modified());
        let built = built.expect("a date");
        let moment = std::time::Duration::from_secs(1);
        write(built - moment);
        assert_eq!(newer_source(&program).expect("looked"), None);
        write(built + moment);
        assert_eq!(
            newer_source(&program).expect("looked"),
            Some(source.clone())
        );
    }

    #[test]
    fn a_build_is_named_by_its_bytes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ustack");
        fs::write(&path, "one").expect("written");
        let one = build(&path).expect("a name");
        assert_eq!(build(&path).expect("a name"), one);
        fs::write(&path, "two").expect("written");
        assert_ne!(build(&path).expect("a name"), one);
        assert!(build(&dir.path().join("none")).is_err());
    }
}
