//! Who can be under test, and how each is started.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::arena::{DEVICE, Place};
use crate::{KERNEL, MTU, STACK, during};

/// A stack under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The limit probe with offload.
    Probe,
    /// The limit probe with offload, spinning instead of sleeping.
    ProbeSpin,
    /// The probe on a plain device as ustack opens it, packet by packet.
    ProbePlain,
    /// The program with offload.
    Ustack,
    /// The program with offload, polling before it sleeps.
    UstackBusyPoll,
    /// The program with offload, with nobody looking: no recorder, no control socket.
    UstackUnobserved,
    /// The program with offload, and all that may always be on: recorder, control socket, event log,
    /// metrics.
    UstackObserved,
    /// The program with offload, and an annotated capture of 128 bytes a packet besides.
    UstackAnnotated,
    /// The program on a plain device.
    UstackPlain,
    /// The library with offload, in a host whose datagram services count.
    Library,
    /// The library on a plain device, the same.
    LibraryPlain,
    /// The kernel of another namespace, over veth.
    Linux,
    /// smoltcp, plain device.
    Smoltcp,
    /// smoltcp, plain device with NAPI in a thread.
    SmoltcpNapi,
    /// ipstack, plain device.
    Ipstack,
    /// netstack-smoltcp, plain device.
    NetstackSmoltcp,
    /// netstack-smoltcp with tun-rs cutting super-segments.
    NetstackSmoltcpOffload,
    /// gVisor's netstack, plain device.
    Gvisor,
}

use Subject::*;

/// All that `--without` can leave out.
pub const PEERS: [Subject; 6] = [
    Smoltcp,
    SmoltcpNapi,
    Ipstack,
    NetstackSmoltcp,
    NetstackSmoltcpOffload,
    Gvisor,
];

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Probe => "limit probe",
            ProbeSpin => "spinning probe",
            ProbePlain => "plain probe",
            Ustack => "ustack",
            UstackBusyPoll => "ustack, busy-polling",
            UstackUnobserved => "ustack, unobserved",
            UstackObserved => "ustack, observed",
            UstackAnnotated => "ustack, capturing",
            UstackPlain => "ustack, plain device",
            Library => "ustack, the library",
            LibraryPlain => "ustack, the library, plain device",
            Linux => "Linux, veth",
            Smoltcp => "smoltcp",
            SmoltcpNapi => "smoltcp, NAPI",
            Ipstack => "ipstack",
            NetstackSmoltcp => "netstack-smoltcp",
            NetstackSmoltcpOffload => "netstack-smoltcp, offload",
            Gvisor => "gVisor",
        })
    }
}

/// Where the programs are, and what this ustack can do.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The program under test.
    pub ustack: PathBuf,
    /// This program.
    pub bench: PathBuf,
    /// Directory of the peers' programs.
    pub peers: PathBuf,
    /// What HTTP serves.
    pub http_root: PathBuf,
    /// The help text of `ustack`.
    help: String,
}

/// Why somebody cannot take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The program is not there; how to get it.
    NotBuilt(String),
    /// This ustack lacks it.
    NotInUstack(String),
}

impl Programs {
    /// Finds out what can be run.
    pub fn find(ustack: Option<&Path>, http_root: &Path) -> io::Result<Self> {
        let bench = std::env::current_exe()?;
        let ustack = ustack.map_or_else(|| bench.with_file_name("ustack"), Path::to_owned);
        let help = Command::new(&ustack)
            .arg("--help")
            .output()
            .map_err(during(format_args!(
                "{} (build it with `cargo build --release`, or say --ustack PATH)",
                ustack.display()
            )))?;
        Ok(Self {
            ustack,
            bench,
            peers: Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/target/release"),
            http_root: http_root.to_owned(),
            help: String::from_utf8_lossy(&help.stdout).into_owned(),
        })
    }

    /// Without the program under test and the peers: what lies in this package alone.
    pub fn parts(bench: &Path) -> Self {
        Self {
            ustack: PathBuf::new(),
            bench: bench.to_owned(),
            peers: PathBuf::new(),
            http_root: PathBuf::from("/"),
            help: String::new(),
        }
    }

    fn knows(&self, flag: &str) -> bool {
        self.help.split_whitespace().any(|word| word == flag)
    }
}

impl Subject {
    /// Between what it and the kernel are.
    pub fn place(self) -> Place {
        match self {
            Linux => Place::Veth,
            Smoltcp | SmoltcpNapi | Ipstack | Gvisor => Place::MadeDevice,
            _ => Place::OwnDevice,
        }
    }

    /// Whether `--without` knows it by this name.
    pub fn is_named(self, name: &str) -> bool {
        self.to_string().replace(", ", "-") == name
    }

    /// Whether it can be started at all.
    pub fn check(self, programs: &Programs) -> Result<(), Absent> {
        if self == UstackBusyPoll && !programs.knows("--busy-poll") {
            let why = "this ustack has no --busy-poll";
            return Err(Absent::NotInUstack(why.to_owned()));
        }
        let is_observed = matches!(self, UstackUnobserved | UstackObserved | UstackAnnotated);
        if is_observed && !programs.knows("--events") {
            let why = "this ustack has no --events, --recorder and --metrics";
            return Err(Absent::NotInUstack(why.to_owned()));
        }
        let Some(name) = self.peer() else {
            return Ok(());
        };
        let path = programs.peers.join(name);
        if path.is_file() {
            return Ok(());
        }
        Err(Absent::NotBuilt(format!(
            "{} is missing: `tools/bench/peers/build` builds the peers{}; or leave it out: --without {}",
            path.display(),
            if self == Gvisor {
                " (gVisor after `apt-get install golang-go golang-gvisor-gvisor-dev`)"
            } else {
                ""
            },
            self.to_string().replace(", ", "-"),
        )))
    }

    /// File name of a peer's program.
    fn peer(self) -> Option<&'static str> {
        Some(match self {
            Smoltcp | SmoltcpNapi => "peer-smoltcp",
            Ipstack => "peer-ipstack",
            NetstackSmoltcp | NetstackSmoltcpOffload => "peer-netstack-smoltcp",
            Gvisor => "peer-gvisor",
            _ => return None,
        })
    }

    /// Its command line.
    pub fn command(self, programs: &Programs) -> Vec<String> {
        let bench = |rest: &str| line(&programs.bench, rest);
        let peer = |rest: &str| line(&programs.peers.join(self.peer().unwrap_or_default()), rest);
        match self {
            Probe => bench(&format!("probe {DEVICE} offload")),
            ProbeSpin => bench(&format!("probe {DEVICE} spin")),
            ProbePlain => bench(&format!("probe {DEVICE} plain")),
            Ustack => programs.ustack_command("offload", ""),
            UstackBusyPoll => programs.ustack_command("offload", "--busy-poll 50us"),
            UstackUnobserved => programs.ustack_command("offload", "--recorder off --control off"),
            UstackObserved => programs.ustack_command("offload", &programs.observed()),
            UstackAnnotated => programs.ustack_command("offload", &programs.annotated()),
            UstackPlain => programs.ustack_command("plain", ""),
            Library => bench(&format!("host {DEVICE}")),
            LibraryPlain => bench(&format!("host {DEVICE} --plain")),
            Linux => bench(&format!(
                "kernel --http-root {}",
                programs.http_root.display()
            )),
            Smoltcp | Gvisor => peer(&format!("{DEVICE} {STACK} {MTU}")),
            SmoltcpNapi => peer(&format!("{DEVICE} {STACK} {MTU} napi")),
            Ipstack | NetstackSmoltcp => peer(&format!("{DEVICE} {MTU}")),
            NetstackSmoltcpOffload => peer(&format!("{DEVICE} {MTU} offload")),
        }
    }
}

impl Programs {
    /// Files go where the run's own are, and with them.
    fn observed(&self) -> String {
        let root = self.http_root.display();
        format!("--recorder {root}/flight --events {root}/events.jsonl --metrics 9100")
    }

    fn annotated(&self) -> String {
        let root = self.http_root.display();
        format!("--recorder off --capture {root}/all.pcapng --annotate --snaplen 128")
    }

    fn ustack_command(&self, device: &str, more: &str) -> Vec<String> {
        // One core is all that there is for it.
        let queues = if self.knows("--queues") {
            "--queues 1"
        } else {
            ""
        };
        let root = self.http_root.display();
        line(
            &self.ustack,
            &format!(
                "--tun {DEVICE} --device {device} --mtu {MTU} --addr {STACK}/24 \
                 --host-addr {KERNEL}/24 --http-root {root} {queues} {more}"
            ),
        )
    }
}

fn line(program: &Path, arguments: &str) -> Vec<String> {
    let program = program.display().to_string();
    let arguments = arguments.split_whitespace().map(str::to_owned);
    std::iter::once(program).chain(arguments).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(help: &str) -> Programs {
        Programs {
            ustack: "/x/ustack".into(),
            bench: "/x/bench".into(),
            peers: "/nowhere".into(),
            http_root: "/x/www".into(),
            help: help.to_owned(),
        }
    }

    #[test]
    fn an_old_ustack_is_not_given_flags_that_it_lacks() {
        let old = programs("--tun <NAME> --mtu <BYTES>");
        let new = programs("--tun <NAME> --busy-poll <TIME> --queues <N>");
        assert!(matches!(
            UstackBusyPoll.check(&old),
            Err(Absent::NotInUstack(_))
        ));
        assert_eq!(UstackBusyPoll.check(&new), Ok(()));
        let flag = "--queues".to_owned();
        assert!(!Ustack.command(&old).contains(&flag));
        assert!(Ustack.command(&new).contains(&flag));
    }

    #[test]
    fn a_missing_peer_says_how_to_build_it_and_how_to_do_without() {
        let Err(Absent::NotBuilt(text)) = Gvisor.check(&programs("")) else {
            panic!("found in /nowhere");
        };
        for words in ["peers/build", "golang-go", "--without gVisor"] {
            assert!(text.contains(words), "{text}");
        }
        assert!(NetstackSmoltcpOffload.is_named("netstack-smoltcp-offload"));
        assert!(!NetstackSmoltcp.is_named("netstack-smoltcp-offload"));
    }
}
