//! What a script's own options, and the suite it belongs to, say about the host.

use std::net::IpAddr;
use std::num::NonZeroU16;

use ustack::tcp::Pacing;
use ustack::tcp::testing::script::ast::Script;

use super::{Result, not_runnable};
use crate::kernel::{self, Family};
use crate::options::{Addresses, Options, Suite, Tolerance};

/// The script's own options, with the suite's where it has none.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) addresses: Addresses,
    /// The port that the host binds to.
    pub(super) bind_port: u16,
    /// The port that the host connects to.
    pub(super) connect_port: u16,
    /// The peer's first port, where it opens connections.
    pub(super) first_port: u16,
    pub(super) tolerance: Tolerance,
    pub(super) mtu: u16,
    /// What the peer's device cuts into: larger payloads arrive merged (GRO).
    pub(super) mss: Option<NonZeroU16>,
    /// Nanoseconds that one step of the timestamps' clock takes, where that is compared.
    pub(super) ts_tick: Option<i64>,
    /// Segments are compared one by one, without joining them.
    pub(super) strict_segments: bool,
    /// Values that calls return may differ.
    pub(super) lenient_calls: bool,
    /// Packets may differ.
    pub(super) lenient_packets: bool,
}

impl Settings {
    pub(super) fn of(script: &Script, options: &Options) -> Result<Self> {
        let is_v6 = options.family == Family::V6;
        // Both families have the same MSS, as scripts that run over both expect.
        let mtu = match (options.suite, is_v6) {
            (Suite::Own | Suite::Linux | Suite::Gvisor, true) => 1520,
            _ => 1500,
        };
        let (nanos, part) = match options.suite {
            Suite::Own => (2_000_000, 0.0),
            Suite::Gvisor => (50_000_000, 0.125),
            _ => (4_000_000, 0.125),
        };
        let mut settings = Self {
            addresses: Addresses::of(options.family),
            bind_port: 8080,
            connect_port: 8080,
            first_port: 40_001,
            tolerance: Tolerance { nanos, part },
            mtu,
            mss: None,
            ts_tick: (options.suite == Suite::Own).then_some(1_000_000),
            strict_segments: options.suite == Suite::Own,
            lenient_calls: false,
            lenient_packets: false,
        };
        // That suite runs what names no family over IPv4 only.
        let names_family = script
            .options
            .iter()
            .any(|option| option.name == "ip_version");
        if options.suite == Suite::Freebsd && !names_family {
            check_version("ipv4", options.family)?;
        }
        for option in &script.options {
            settings.apply(&option.name, &option.value, options)?;
        }
        if let Some(tolerance) = options.tolerance {
            settings.tolerance = tolerance;
        }
        Ok(settings)
    }

    fn apply(&mut self, name: &str, value: &str, options: &Options) -> Result<()> {
        let number = || {
            value
                .parse::<i64>()
                .map_err(|_| not_runnable(format!("--{name}={value} is no number")))
        };
        match name {
            "ip_version" => check_version(value, options.family)?,
            "local_ip" => self.set_address(value, true)?,
            "remote_ip" => self.set_address(value, false)?,
            "bind_port" => self.bind_port = number()? as u16,
            "connect_port" => self.connect_port = number()? as u16,
            "mtu" => self.mtu = number()?.clamp(576, 65_535) as u16,
            "tolerance_usecs" => self.tolerance.nanos = number()? * 1_000,
            "tolerance_percent" => {
                let percent: f64 = value
                    .parse()
                    .map_err(|_| not_runnable(format!("--{name}={value}")))?;
                self.tolerance.part = percent / 100.0;
            }
            "tcp_ts_tick_usecs" => self.ts_tick = Some(number()? * 1_000),
            "strict_segments" => self.strict_segments = true,
            "non_fatal" => {
                self.lenient_calls = value.contains("syscall");
                self.lenient_packets = value.contains("packet");
            }
            // What the peer's device does to packets does not show in how they arrive.
            "mss" => self.mss = NonZeroU16::new(number()? as u16),
            "speed" | "gateway_ip" | "netmask_ip" | "wire_protocol" | "dry_run" | "verbose"
            | "send_omit_free" | "init_scripts" | "tcp_ts_ecr_scaled" | "define" => {}
            other => return Err(not_runnable(format!("option --{other}"))),
        }
        Ok(())
    }

    fn set_address(&mut self, value: &str, is_local: bool) -> Result<()> {
        let address: IpAddr = value
            .parse()
            .map_err(|_| not_runnable(format!("address {value}")))?;
        // Scripts that run over both families name one family's address.
        if address.is_ipv4() == self.addresses.local.is_ipv4() {
            if is_local {
                self.addresses.local = address;
            } else {
                self.addresses.remote = address;
            }
        }
        Ok(())
    }

    /// The host under test.
    pub(super) fn host(&self, options: &Options) -> kernel::Options {
        let addresses = vec![(self.addresses.local, self.addresses.prefix)];
        let mut host = match options.suite {
            Suite::Own | Suite::Freebsd => kernel::Options::new(addresses, self.mtu),
            Suite::Linux | Suite::Gvisor => kernel::Options::linux(addresses, self.mtu),
        };
        if options.suite != Suite::Own {
            host.tcp.pacing = Pacing::Off; // as Linux without `fq`
        }
        // Segments are joined here, to the length that a line asks for.
        host.tso = false;
        host.seed = options.seed;
        host
    }
}

fn check_version(value: &str, family: Family) -> Result<()> {
    let fits = match value {
        "ipv4" => family == Family::V4,
        "ipv6" => family == Family::V6,
        "ipv4-mapped-ipv6" => family == Family::V4Mapped,
        _ => false,
    };
    if fits {
        Ok(())
    } else {
        Err(not_runnable(format!("it is for {value}")))
    }
}
