//! What can stand in the way of a network of one's own, and the way around it.

use std::fmt;
use std::fs::read_to_string;
use std::io;
use std::path::Path;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The node through which TUN devices are made.
pub(super) const NODE: &str = "/dev/net/tun";

/// What was being done when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    /// Starting this program a second time.
    Start,
    /// `unshare(CLONE_NEWUSER)`.
    UserNamespace,
    /// Writing `uid_map`, `gid_map` or `setgroups`.
    IdMap,
    /// `unshare(CLONE_NEWNET | CLONE_NEWNS)`.
    NetNamespace,
    /// Opening `/dev/net/tun`.
    Node,
    /// Making the TUN device.
    Device,
    /// `lo` and the routes.
    Network,
    /// Covering `/etc/resolv.conf`.
    Resolver,
}

/// A step that failed, with what the kernel said.
pub(super) struct Failure {
    pub(super) step: Step,
    pub(super) error: io::Error,
}

impl Step {
    /// For `map_err`.
    pub(super) fn failed(self) -> impl Fn(io::Error) -> Failure {
        move |error| Failure { step: self, error }
    }
}

/// What the machine says about itself, for the message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// `user.max_user_namespaces`.
    pub(crate) max_user_namespaces: Option<u64>,
    /// `kernel.unprivileged_userns_clone` (Debian up to 10) is 0.
    pub(crate) userns_clone_off: bool,
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    pub(crate) apparmor: bool,
    /// This is a container.
    pub(crate) container: bool,
}

impl Facts {
    /// Looks around.
    pub(crate) fn gather() -> Self {
        let sysctl = |name: &str| -> Option<u64> {
            let text = read_to_string(format!("/proc/sys/{name}")).ok()?;
            text.trim().parse().ok()
        };
        let marks = ["/.dockerenv", "/run/.containerenv"];
        Self {
            max_user_namespaces: sysctl("user/max_user_namespaces"),
            userns_clone_off: sysctl("kernel/unprivileged_userns_clone") == Some(0),
            apparmor: sysctl("kernel/apparmor_restrict_unprivileged_userns") == Some(1),
            container: marks.iter().any(|mark| Path::new(mark).exists()),
        }
    }
}

/// Why the command cannot have a network of its own.
#[derive(Clone, Debug)]
pub(crate) struct Obstacle {
    pub(super) step: Step,
    pub(super) errno: Option<i32>,
    pub(super) detail: String,
    pub(super) facts: Facts,
}

impl Obstacle {
    /// An obstacle on this machine.
    pub(super) fn new(step: Step, errno: Option<i32>, detail: impl Into<String>) -> Self {
        Self {
            step,
            errno,
            detail: detail.into(),
            facts: Facts::gather(),
        }
    }

    /// Whether the node or the device is in the way, rather than the namespaces.
    pub(crate) fn is_device(&self) -> bool {
        matches!(self.step, Step::Node | Step::Device)
    }

    /// What happened, in one sentence without a full stop.
    pub(crate) fn message(&self) -> String {
        let what = match self.step {
            Step::Start => "cannot start the process that becomes the command",
            Step::UserNamespace => "cannot make a user namespace",
            Step::IdMap => "cannot map your user id into the new user namespace",
            Step::NetNamespace => "cannot make network and mount namespaces",
            Step::Node => "cannot open /dev/net/tun",
            Step::Device => "cannot make the TUN device",
            Step::Network => "cannot set up lo and the routes in the namespace",
            Step::Resolver => "cannot cover /etc/resolv.conf in the namespace",
        };
        match (self.errno, self.detail.as_str()) {
            (None, "") => what.to_owned(),
            (None, detail) => format!("{what}: {detail}"),
            (Some(errno), "") => format!("{what}: {}", Errno::from_raw_os_error(errno)),
            (Some(errno), detail) => {
                format!("{what}: {detail}: {}", Errno::from_raw_os_error(errno))
            }
        }
    }

    /// What to do about it, one line each.
    pub(crate) fn ways_out(&self) -> Vec<String> {
        let errno = self.errno.map(Errno::from_raw_os_error);
        match self.step {
            Step::Node => self.node(errno),
            Step::UserNamespace => self.user_namespace(errno),
            Step::IdMap | Step::NetNamespace if is_denied(errno) && self.facts.apparmor => {
                apparmor()
            }
            Step::IdMap | Step::NetNamespace if is_denied(errno) => vec![
                "A security module denies it to unprivileged user namespaces.".into(),
                "Ask the administrator, or use `sudo ustack` instead of `ustack run`.".into(),
            ],
            Step::NetNamespace if errno == Some(Errno::NOSPC) => vec![
                "The limit for network or mount namespaces is reached. Raise it:".into(),
                "sudo sysctl user.max_net_namespaces=10000 user.max_mnt_namespaces=10000".into(),
            ],
            Step::Device if errno == Some(Errno::BUSY) => {
                vec!["Choose another name: --tun NAME".into()]
            }
            Step::Start => vec!["Is /proc mounted?".into()],
            _ => Vec::new(),
        }
    }

    fn node(&self, errno: Option<Errno>) -> Vec<String> {
        match errno {
            Some(Errno::NOENT | Errno::NOTDIR) if self.facts.container => vec![
                "The container has no TUN node. Start it with:".into(),
                "docker run --device /dev/net/tun …".into(),
            ],
            Some(Errno::NOENT | Errno::NOTDIR | Errno::NODEV | Errno::NXIO) => vec![
                "The kernel's TUN driver is not loaded. Load it:".into(),
                "sudo modprobe tun".into(),
                "In a container, start that with: docker run --device /dev/net/tun …".into(),
            ],
            Some(Errno::ACCESS) => vec![
                "The node is closed to you (most distributions have it open). Open it:".into(),
                format!("sudo chmod 0666 {NODE}"),
                "Or run as root: sudo ustack run …".into(),
            ],
            Some(Errno::PERM) => vec![
                "The container's device list does not have it. Start it with:".into(),
                "docker run --device /dev/net/tun …".into(),
            ],
            _ => Vec::new(),
        }
    }

    fn user_namespace(&self, errno: Option<Errno>) -> Vec<String> {
        match errno {
            Some(Errno::NOSPC | Errno::USERS) => vec![
                match self.facts.max_user_namespaces {
                    Some(0) => "User namespaces are switched off. Switch them on:".into(),
                    Some(limit) => format!("The limit of {limit} user namespaces is reached, or they are nested too deeply. Raise it:"),
                    None => "The limit for user namespaces is reached. Raise it:".into(),
                },
                "sudo sysctl user.max_user_namespaces=10000".into(),
            ],
            Some(Errno::PERM | Errno::ACCESS) if self.facts.userns_clone_off => vec![
                "User namespaces are switched off for ordinary users. Switch them on:".into(),
                "sudo sysctl kernel.unprivileged_userns_clone=1".into(),
            ],
            Some(Errno::PERM | Errno::ACCESS) if self.facts.apparmor => apparmor(),
            Some(Errno::PERM | Errno::ACCESS) => vec![
                "A container's seccomp filter refuses it (Docker's default does), or a chroot.".into(),
                "docker run --security-opt seccomp=unconfined --device /dev/net/tun …".into(),
                "Or give the container a device and run the stack there: docker run --cap-add NET_ADMIN --device /dev/net/tun … ustack".into(),
            ],
            Some(Errno::INVAL | Errno::NOSYS) => {
                vec!["The kernel is built without user namespaces (CONFIG_USER_NS).".into()]
            }
            _ => Vec::new(),
        }
    }
}

fn is_denied(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::PERM | Errno::ACCESS))
}

fn apparmor() -> Vec<String> {
    let program = std::env::current_exe().ok();
    let program = program.map_or_else(
        || "/path/to/ustack".into(),
        |path| path.display().to_string(),
    );
    vec![
        "AppArmor keeps unprivileged user namespaces powerless (Ubuntu 23.10 and later).".into(),
        "Allow them to this program:".into(),
        format!(
            "printf 'abi <abi/4.0>,\\nprofile ustack {program} flags=(unconfined) {{ userns, }}\\n' | sudo tee /etc/apparmor.d/ustack && sudo apparmor_parser -r /etc/apparmor.d/ustack"
        ),
        "Or to all: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0".into(),
    ]
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        self.ways_out()
            .iter()
            .try_for_each(|line| write!(f, "\n  {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(step: Step, errno: Errno, facts: Facts) -> String {
        let errno = Some(errno.raw_os_error());
        let detail = String::new();
        Obstacle {
            step,
            errno,
            detail,
            facts,
        }
        .to_string()
    }

    fn plain() -> Facts {
        Facts {
            max_user_namespaces: Some(1000),
            ..Facts::default()
        }
    }

    #[test]
    fn every_closed_or_missing_node_has_a_way_out_of_its_own() {
        let container = Facts {
            container: true,
            ..plain()
        };
        for (errno, facts, way_out) in [
            (Errno::ACCESS, plain(), "sudo chmod 0666 /dev/net/tun"),
            (Errno::NOENT, plain(), "sudo modprobe tun"),
            (Errno::NOENT, container, "no TUN node"),
            (Errno::PERM, plain(), "--device /dev/net/tun"),
        ] {
            let text = text(Step::Node, errno, facts);
            assert!(text.contains(way_out), "{errno:?}: {text}");
        }
    }

    #[test]
    fn every_way_to_refuse_namespaces_has_a_way_out_of_its_own() {
        let with = |max, apparmor, userns_clone_off| Facts {
            max_user_namespaces: Some(max),
            apparmor,
            userns_clone_off,
            container: false,
        };
        let (off, ubuntu) = (with(0, false, false), with(1000, true, false));
        let debian = with(1000, false, true);
        use Step::{IdMap, NetNamespace, UserNamespace};
        for (step, errno, facts, way_out) in [
            (UserNamespace, Errno::NOSPC, off, "are switched off"),
            (UserNamespace, Errno::NOSPC, plain(), "limit of 1000"),
            (UserNamespace, Errno::PERM, plain(), "seccomp=unconfined"),
            (UserNamespace, Errno::PERM, debian, "userns_clone=1"),
            (IdMap, Errno::ACCESS, ubuntu.clone(), "userns,"),
            (NetNamespace, Errno::PERM, ubuntu, "userns=0"),
            (NetNamespace, Errno::NOSPC, plain(), "max_net_namespaces"),
        ] {
            let text = text(step, errno, facts);
            assert!(text.contains(way_out), "{step:?} {errno:?}: {text}");
        }
    }

    #[test]
    fn the_first_line_says_what_failed_and_why() {
        let text = text(Step::Node, Errno::ACCESS, plain());
        let first = text.lines().next().unwrap();
        assert!(
            first.starts_with("cannot open /dev/net/tun: Permission denied"),
            "{first}"
        );
    }
}
