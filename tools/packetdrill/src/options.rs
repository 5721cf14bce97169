//! What a run of scripts is told.

use std::net::IpAddr;
use std::time::Duration;

use crate::kernel::Family;

/// What the scripts' authors had before them: it decides how the host is set up, and what about
/// a packet is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Suite {
    /// Our own scripts: ustack's defaults; nothing may leave that no line asks for.
    Own,
    /// google/packetdrill, Linux selftests: Linux's defaults and a device with TSO.
    #[default]
    Linux,
    /// gVisor's scripts: as on Linux, and 50 ms early or late are no matter.
    Gvisor,
    /// The FreeBSD test suite: options are compared without their order and padding.
    Freebsd,
}

/// How late or early things may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// In nanoseconds.
    pub nanos: i64,
    /// A part of the time since the event before, 0.125 for an eighth.
    pub part: f64,
}

/// How to run a script.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which packets and sockets.
    pub family: Family,
    /// Whose script it is.
    pub suite: Suite,
    /// Overrides the suite's and the script's own.
    pub tolerance: Option<Tolerance>,
    /// Words that the script may use, with what they stand for.
    pub defines: Vec<(String, String)>,
    /// Sysctls by their Linux names, set before the script begins.
    pub sysctls: Vec<(String, String)>,
    /// Added to the peer's initial sequence number, which scripts write as 0.
    pub peer_isn: u32,
    /// The secret that the host's own ISN comes from.
    pub seed: [u8; 32],
    /// How long the host has been up when the script starts. Its ISN grows by one every 4 µs
    /// (RFC 6528).
    pub uptime: Duration,
}

impl Options {
    /// For scripts of `suite`, over `family`.
    pub fn new(suite: Suite, family: Family) -> Self {
        let (host, level, kind) = match family {
            Family::V6 => ("address_unreachable", "SOL_IPV6", "IPV6_RECVERR"),
            // Errors of an IPv6 socket come at its own level, whatever the packets are.
            Family::V4Mapped => ("host_unreachable", "SOL_IPV6", "IPV6_RECVERR"),
            Family::V4 => ("host_unreachable", "SOL_IP", "IP_RECVERR"),
        };
        let mut defines = vec![
            ("CODE".to_string(), host.to_string()),
            ("CMSG_LEVEL_IP".to_string(), level.to_string()),
            ("CMSG_TYPE_RECVERR".to_string(), kind.to_string()),
            ("TFO_COOKIE".to_string(), format!("{:016x}", cookie(family))),
        ];
        if suite == Suite::Freebsd {
            defines.push(("STANDARD".to_string(), String::new()));
        }
        Self {
            family,
            suite,
            tolerance: None,
            defines,
            sysctls: Vec::new(),
            peer_isn: 0,
            seed: [7; 32],
            uptime: Duration::ZERO,
        }
    }

    /// The same, but with `isn`, or one less, as the host's own initial sequence number, where it
    /// was `was`. The uptime remains a whole number of milliseconds, for the timestamps' sake.
    pub fn with_isn(&self, was: u32, isn: u32) -> Self {
        let steps = u64::from(isn.wrapping_sub(was) & !1);
        // Rounds of all sequence numbers until a whole number of milliseconds has passed.
        let rounds = (0..125).find(|rounds| (steps + (rounds << 32)).is_multiple_of(250));
        let steps = steps + (rounds.unwrap_or(0) << 32);
        Self {
            uptime: self.uptime + Duration::from_micros(4 * steps),
            ..self.clone()
        }
    }
}

/// The addresses of both ends.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The host under test.
    pub local: IpAddr,
    /// Its peer, whom the script plays.
    pub remote: IpAddr,
    /// The length of the host's own prefix.
    pub prefix: u8,
}

impl Addresses {
    /// What a script gets that names none.
    pub fn of(family: Family) -> Self {
        let v4 = |a, b, c, d| IpAddr::from([a, b, c, d]);
        match family {
            Family::V4 | Family::V4Mapped => Self {
                local: v4(192, 168, 0, 1),
                remote: v4(192, 0, 2, 1),
                prefix: 16,
            },
            Family::V6 => Self {
                local: IpAddr::from([0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1]),
                remote: IpAddr::from([0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1]),
                prefix: 64,
            },
        }
    }
}

/// The Fast Open cookie that `defaults.sh`'s key gives for the addresses of a family.
pub(crate) const fn cookie(family: Family) -> u64 {
    match family {
        Family::V6 => 0xc1d1_e974_2a47_a9bc,
        _ => 0x3021_b9d8_8901_7eeb,
    }
}
