//! What was asked for, completed with defaults and checked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ustack::Config;
use ustack::device::ImpairSpec;

use super::address::{self, AddressArg, Addresses, Prefix};
use super::args::{Congestion, DeviceMode, Options};
use super::capture::{self, CaptureSettings};
use super::config_file::Origins;
use super::error::{Error, ExitStatus, reason};
use super::recorder::RecorderSettings;

const DEFAULT_TUN: &str = "ustack0";
/// Ethernet's.
pub(crate) const DEFAULT_MTU: u16 = 1500;
/// RFC 8200 §5.
const MIN_MTU_V6: u16 = 1280;
/// What every host takes (RFC 1122 §3.3.2); an IPv4 link below it serves nobody.
const MIN_MTU_V4: u16 = 576;
/// IFNAMSIZ without its NUL.
const MAX_NAME: usize = 15;
/// The kernel's `MAX_TAP_QUEUES`.
const MAX_QUEUES: usize = 256;
/// Longer than it takes to wake any thread, and no time to notice that the program does not end.
const MAX_BUSY_POLL_US: u64 = 10_000;

/// Everything a running host needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The device to open.
    pub(crate) tun: TunChoice,
    /// Bytes; not given, a new device has [`DEFAULT_MTU`] and an existing one keeps its own.
    pub(crate) mtu: Option<u16>,
    /// The stack's addresses, each with its network's prefix length.
    pub(crate) addresses: Vec<Prefix>,
    /// The host's side.
    pub(crate) host_addresses: Vec<Prefix>,
    /// How to use the device.
    pub(crate) device: DeviceMode,
    /// Shards, if a number was asked for.
    pub(crate) queues: Option<usize>,
    /// How long drivers look for packets before they sleep; zero: not at all.
    pub(crate) busy_poll: Duration,
    /// The budget of all buffers together, in bytes.
    pub(crate) memory: Option<usize>,
    /// Congestion control.
    pub(crate) congestion: Congestion,
    /// Directory served over HTTP.
    pub(crate) http_root: Option<PathBuf>,
    /// Relay to other addresses.
    pub(crate) forward: bool,
    /// Addresses of the host that the relay may reach all the same.
    pub(crate) forward_allow: Vec<Prefix>,
    /// An address of the stack that stands for a name server of the host; `run` sets it.
    pub(crate) resolver: Option<(SocketAddr, SocketAddr)>,
    /// Where packets are recorded.
    /// The control socket.
    pub(crate) control: ControlChoice,
    /// Where metrics are offered.
    pub(crate) metrics: Option<SocketAddr>,
    pub(crate) capture: Option<CaptureSettings>,
    /// Where events are written.
    pub(crate) events: Option<PathBuf>,
    /// The last packets, kept in memory.
    pub(crate) recorder: Option<RecorderSettings>,
    /// Faults for packets to the stack.
    pub(crate) impair_in: Option<ImpairSpec>,
    /// Faults for packets from the stack.
    pub(crate) impair_out: Option<ImpairSpec>,
    /// Log filter as given.
    pub(crate) log: Option<String>,
    /// Stay root under sudo.
    pub(crate) keep_root: bool,
}

/// Which control socket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum ControlChoice {
    /// Where `ustack ss` finds it by itself, if that is possible.
    #[default]
    Default,
    /// Here, or fail.
    Path(PathBuf),
    /// None.
    Off,
}

impl ControlChoice {
    fn new(given: Option<PathBuf>) -> Self {
        match given {
            None => Self::Default,
            Some(path) if path.as_os_str() == "off" => Self::Off,
            Some(path) => Self::Path(path),
        }
    }
}

/// Which device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TunChoice {
    /// Make it, or attach to it if it is there.
    Name(String),
    /// Somebody has opened it and passed it down.
    Fd(RawFd),
}

impl Settings {
    /// Checks everything that can be checked without touching the system's configuration.
    pub(crate) fn new(options: Options, origins: &Origins) -> Result<Self, Error> {
        let capture = CaptureSettings::new(&options, origins)?;
        let recorder = RecorderSettings::new(&options, origins)?;
        let Options {
            tun,
            tun_fd,
            mtu,
            addr,
            host_addr,
            device,
            queues,
            busy_poll,
            memory,
            cc,
            http_root,
            forward,
            forward_allow,
            control,
            metrics,
            events,
            impair,
            impair_in,
            impair_out,
            log,
            keep_root,
            config: _,
            ..
        } = options;
        let Addresses { stack, host } = address::resolve(&addr, &host_addr).map_err(|bad| {
            usage(format!("{} {}", origins.name(bad.key), bad.message))
                .hint("Example: --addr 192.168.50.2/24 --host-addr 192.168.50.1/24")
        })?;
        let mtu = check_mtu(mtu, &stack, origins)?;
        let [impair_in, impair_out] = check_impairs([impair, impair_in, impair_out], origins)?;
        let is_impaired = impair_in.is_some() || impair_out.is_some();
        check_paths(http_root.as_deref(), events.as_deref())?;
        let queues = check_queues(queues, is_impaired, origins)?;
        Ok(Self {
            tun: check_tun(tun, tun_fd, origins)?,
            mtu,
            metrics: check_metrics(metrics.as_deref(), &stack, origins)?,
            addresses: stack,
            host_addresses: host,
            device: device.unwrap_or_default(),
            queues,
            busy_poll: check_busy_poll(busy_poll.as_deref(), origins)?,
            memory: check_memory(memory.as_deref(), queues.unwrap_or(1), origins)?,
            congestion: cc.unwrap_or_default(),
            http_root,
            forward: forward.unwrap_or_default(),
            forward_allow: check_forward_allow(&forward_allow, origins)?,
            resolver: None,
            capture,
            control: ControlChoice::new(control),
            events,
            recorder,
            impair_in,
            impair_out,
            log,
            keep_root: keep_root.unwrap_or_default(),
        })
    }

    /// Shards to have at most: what was asked for, or one for each core.
    pub(crate) fn shards(&self) -> usize {
        let is_impaired = self.impair_in.is_some() || self.impair_out.is_some();
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let default = if is_impaired {
            1
        } else {
            cores.min(MAX_QUEUES)
        };
        self.queues.unwrap_or(default)
    }

    /// What a device that has this many queues means for who asked for a number.
    pub(crate) fn check_shards(&self, queues: usize, why: &str) -> Result<(), Error> {
        match self.queues {
            Some(wanted) if wanted > queues => Err(Error::new(
                ExitStatus::Device,
                format!("--queues {wanted} is more than there are: {why}"),
            )
            .hint("Leave --queues out for as many as there can be")),
            _ => Ok(()),
        }
    }

    /// The stack's first address of either family, IPv4 first.
    pub(crate) fn example_address(&self) -> IpAddr {
        let v4 = self.addresses.iter().find(|prefix| prefix.addr.is_ipv4());
        v4.unwrap_or(&self.addresses[0]).addr
    }
}

pub(crate) fn usage(message: String) -> Error {
    Error::new(ExitStatus::Usage, message)
}

fn check_tun(
    name: Option<String>,
    fd: Option<RawFd>,
    origins: &Origins,
) -> Result<TunChoice, Error> {
    if let Some(fd) = fd {
        if fd < 0 {
            return Err(usage(format!("--tun-fd {fd} is no file descriptor")));
        }
        return Ok(TunChoice::Fd(fd));
    }
    let name = name.unwrap_or_else(|| DEFAULT_TUN.to_owned());
    let why = if name.is_empty() {
        "is empty"
    } else if name.len() > MAX_NAME {
        "is longer than the 15 bytes a device name can have"
    } else if name == "." || name == ".." || name.contains(['/', ':', '%']) {
        "holds a character that device names cannot have (/ : %)"
    } else if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        "holds white space or a control character"
    } else {
        return Ok(TunChoice::Name(name));
    };
    Err(usage(format!(
        "{} '{}' {why}",
        origins.name("tun"),
        name.escape_debug()
    )))
}

fn check_mtu(mtu: Option<u32>, stack: &[Prefix], origins: &Origins) -> Result<Option<u16>, Error> {
    let Some(mtu) = mtu else { return Ok(None) };
    let name = origins.name("mtu");
    let v6 = stack.iter().any(|prefix| prefix.addr.is_ipv6());
    let Ok(short) = u16::try_from(mtu) else {
        return Err(usage(format!(
            "{name} {mtu} is impossible: an IP packet has at most 65535 bytes"
        )));
    };
    if v6 && short < MIN_MTU_V6 {
        return Err(usage(format!(
            "{name} {mtu} is impossible: IPv6 needs {MIN_MTU_V6} or more (RFC 8200)"
        ))
        .hint("Without IPv6 it can be smaller: --addr 10.77.0.2"));
    }
    if short < MIN_MTU_V4 {
        return Err(usage(format!(
            "{name} {mtu} is impossible: {MIN_MTU_V4} is the least every IPv4 host takes (RFC 1122)"
        )));
    }
    Ok(Some(short))
}

fn check_queues(
    queues: Option<u32>,
    is_impaired: bool,
    origins: &Origins,
) -> Result<Option<usize>, Error> {
    let Some(queues) = queues else {
        return Ok(None);
    };
    let (name, count) = (origins.name("queues"), queues as usize);
    if count == 0 || count > MAX_QUEUES {
        return Err(usage(format!(
            "{name} {queues} is impossible: a TUN device has 1 to {MAX_QUEUES}"
        )));
    }
    if is_impaired && count > 1 {
        return Err(usage(format!(
            "{name} {queues} is too many for --impair, which works on one queue only: its faults \
             act on the packets of all connections in one order"
        ))
        .hint("Leave one of the two out"));
    }
    Ok(Some(count))
}

/// A size such as `64M`.
pub(crate) fn bytes_of(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match &text[digits.len()..] {
        "" => 0,
        "K" | "k" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift)
}

/// A size such as `64M`, enough for so many shards.
fn check_memory(
    text: Option<&str>,
    shards: usize,
    origins: &Origins,
) -> Result<Option<usize>, Error> {
    let Some(text) = text else { return Ok(None) };
    let name = origins.name("memory");
    let Some(bytes) = bytes_of(text) else {
        return Err(usage(format!("{name} {text} is no number of bytes"))
            .hint("Example: --memory 64M (units K, M, G: powers of 1024)"));
    };
    if bytes < shards * Config::MIN_MEMORY {
        let least = Config::MIN_MEMORY >> 20;
        return Err(usage(format!(
            "{name} {text} is too little: each shard needs {least}M, and there are {shards}"
        ))
        .hint(format!(
            "Use --memory {}M or more, or fewer --queues",
            shards * least
        )));
    }
    Ok(Some(bytes))
}

/// A time such as `50us`; more than a sleep could take makes no sense.
fn check_busy_poll(text: Option<&str>, origins: &Origins) -> Result<Duration, Error> {
    let Some(text) = text else {
        return Ok(Duration::ZERO);
    };
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let micros = match (digits.parse::<u64>(), &text[digits.len()..]) {
        (Ok(0), _) => Some(0),
        (Ok(value), "us" | "µs") => Some(value),
        (Ok(value), "ms") => value.checked_mul(1000),
        _ => None,
    };
    match micros {
        Some(micros) if micros <= MAX_BUSY_POLL_US => Ok(Duration::from_micros(micros)),
        _ => Err(usage(format!(
            "{} {text} is no time up to {} ms",
            origins.name("busy-poll"),
            MAX_BUSY_POLL_US / 1000
        ))
        .hint("Example: --busy-poll 50us")),
    }
}

/// Refuses files and directories that could not be used.
fn check_paths(http_root: Option<&Path>, events: Option<&Path>) -> Result<(), Error> {
    http_root.map_or(Ok(()), check_http_root)?;
    events.map_or(Ok(()), |file| capture::check_file(file, "events"))
}

/// A port, at the loopback, or an address of the host with a port.
fn check_metrics(
    text: Option<&str>,
    stack: &[Prefix],
    origins: &Origins,
) -> Result<Option<SocketAddr>, Error> {
    let Some(text) = text else { return Ok(None) };
    let name = origins.name("metrics");
    let loopback = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let port = text.parse().map(loopback).ok();
    let Some(address) = port.or_else(|| text.parse().ok()) else {
        return Err(usage(format!("{name} {text} is no address with a port"))
            .hint("Examples: --metrics 9100, --metrics 192.168.1.5:9100, --metrics [::1]:9100"));
    };
    if stack.iter().any(|prefix| prefix.addr == address.ip()) {
        return Err(usage(format!(
            "{name} {text} is an address of the stack: metrics are offered by the host"
        ))
        .hint("Use an address of the host, or a port alone for 127.0.0.1"));
    }
    Ok(Some(address))
}

/// Faults of packets to the stack and from it, out of those of both directions and of each.
fn check_impairs(
    [both, inbound, outbound]: [Option<String>; 3],
    origins: &Origins,
) -> Result<[Option<ImpairSpec>; 2], Error> {
    let both = check_impair("impair", both, origins)?;
    let inbound = check_impair("impair-in", inbound, origins)?;
    let outbound = check_impair("impair-out", outbound, origins)?;
    Ok([inbound.or_else(|| both.clone()), outbound.or(both)])
}

fn check_impair(
    key: &str,
    text: Option<String>,
    origins: &Origins,
) -> Result<Option<ImpairSpec>, Error> {
    let Some(text) = text else { return Ok(None) };
    let spec = text.parse().map_err(|why| {
        usage(format!("{} {text}: {why}", origins.name(key)))
            .hint("Example: --impair loss=1%,delay=10ms,jitter=2ms,rate=100mbit,queue=100,seed=7")
    })?;
    Ok(Some(spec))
}

fn check_forward_allow(values: &[String], origins: &Origins) -> Result<Vec<Prefix>, Error> {
    let parse = |value: &String| {
        let arg: Result<AddressArg, _> = value.parse();
        arg.map(AddressArg::prefix)
            .map_err(|why| usage(format!("{} {why}", origins.name("forward-allow"))))
    };
    values.iter().map(parse).collect()
}

/// Refuses a directory that this process cannot list; called again once privileges are dropped.
pub(crate) fn check_http_root(dir: &Path) -> Result<(), Error> {
    match std::fs::read_dir(dir) {
        Ok(_) => Ok(()),
        Err(error) => Err(Error::new(
            ExitStatus::File,
            format!(
                "cannot serve --http-root {}: {}",
                dir.display(),
                reason(&error)
            ),
        )
        .hint("It must be a directory that the user ustack runs as can read")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::args::Cli;
    use super::*;
    use clap::Parser as _;

    fn settings(line: &str) -> Result<Settings, String> {
        let options = Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .options;
        Settings::new(options, &Origins::default()).map_err(|error| error.render())
    }

    #[test]
    fn defaults() {
        let settings = settings("ustack").unwrap();
        assert_eq!(settings.tun, TunChoice::Name("ustack0".into()));
        assert_eq!(settings.mtu, None);
        assert_eq!(settings.device, DeviceMode::Auto);
        assert_eq!(settings.congestion, Congestion::Cubic);
        assert!(!settings.forward && !settings.keep_root);
        assert_eq!(settings.example_address().to_string(), "10.77.0.2");
    }

    #[test]
    fn the_mtu_fits_the_families_in_use() {
        assert_eq!(settings("ustack --mtu 65535").unwrap().mtu, Some(65535));
        assert_eq!(
            settings("ustack --mtu 576 --addr 10.77.0.2").unwrap().mtu,
            Some(576)
        );
        for (line, why) in [
            (
                "ustack --mtu 65536",
                "--mtu 65536 is impossible: an IP packet has at most",
            ),
            (
                "ustack --mtu 1279",
                "--mtu 1279 is impossible: IPv6 needs 1280",
            ),
            (
                "ustack --mtu 575 --addr 10.77.0.2",
                "--mtu 575 is impossible: 576 is the least",
            ),
            ("ustack --mtu 0", "--mtu 0 is impossible"),
        ] {
            let message = settings(line).unwrap_err();
            assert!(
                message.starts_with(&format!("ustack: error: {why}")),
                "{message}"
            );
        }
    }

    #[test]
    fn metrics_are_offered_by_the_host() {
        let metrics =
            |text: &str| settings(&format!("ustack --metrics {text}")).map(|all| all.metrics);
        for (text, address) in [
            ("9100", "127.0.0.1:9100"),
            ("192.168.1.5:9100", "192.168.1.5:9100"),
            ("[::1]:0", "[::1]:0"),
        ] {
            assert_eq!(metrics(text), Ok(Some(address.parse().unwrap())));
        }
        assert_eq!(settings("ustack").unwrap().metrics, None);
        for (text, why) in [
            ("here", "is no address with a port"),
            ("127.0.0.1", "is no address with a port"),
            ("65536", "is no address with a port"),
            ("10.77.0.2:9100", "is an address of the stack"),
            ("[fd77::2]:9100", "is an address of the stack"),
        ] {
            let message = metrics(text).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn the_control_socket_can_be_elsewhere_or_off() {
        let control = |line| settings(line).unwrap().control;
        assert_eq!(control("ustack"), ControlChoice::Default);
        assert_eq!(control("ustack --control off"), ControlChoice::Off);
        let path = ControlChoice::Path("/tmp/a.sock".into());
        assert_eq!(control("ustack --control /tmp/a.sock"), path);
    }

    #[test]
    fn memory_is_a_number_of_bytes_and_enough() {
        let memory = |text: &str| settings(&format!("ustack {text}")).map(|all| all.memory);
        assert_eq!(memory(""), Ok(None));
        for (text, bytes) in [
            ("2097152", 2 << 20),
            ("2048K", 2 << 20),
            ("64M", 64 << 20),
            ("64MiB", 64 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(memory(&format!("--memory {text}")), Ok(Some(bytes)));
        }
        assert_eq!(memory("--memory 8M --queues 4"), Ok(Some(8 << 20)));
        for (text, why) in [
            ("--memory=M", "is no number of bytes"),
            ("--memory=64MB", "is no number of bytes"),
            ("--memory=-1M", "is no number of bytes"),
            ("--memory=99999999999G", "is no number of bytes"),
            ("--memory=1M", "each shard needs 2M, and there are 1"),
            ("--memory=7M --queues=4", "and there are 4"),
        ] {
            let message = memory(text).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn queues_and_busy_polling_have_limits() {
        let busy = |text| settings(&format!("ustack --busy-poll {text}")).map(|all| all.busy_poll);
        assert_eq!(settings("ustack").unwrap().busy_poll, Duration::ZERO);
        assert_eq!(busy("0"), Ok(Duration::ZERO));
        assert_eq!(busy("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(busy("2ms"), Ok(Duration::from_millis(2)));
        for text in ["50", "us", "1s", "11ms", "-5us", "18446744073709551615ms"] {
            let line = format!("ustack --busy-poll={text}");
            let message = settings(&line).unwrap_err();
            assert!(message.contains("is no time up to 10 ms"), "{message}");
        }
        assert_eq!(settings("ustack --queues 4").unwrap().shards(), 4);
        assert_eq!(settings("ustack --impair loss=1%").unwrap().shards(), 1);
        for (line, why) in [
            ("ustack --queues 0", "is impossible"),
            ("ustack --queues 257", "is impossible"),
            ("ustack --queues 2 --impair loss=1%", "on one queue only"),
            (
                "ustack --queues 2 --impair-out loss=1%",
                "on one queue only",
            ),
        ] {
            let message = settings(line).unwrap_err();
            assert!(message.contains(why), "{message}");
        }
        let four = settings("ustack --queues 4").unwrap();
        assert!(four.check_shards(4, "").is_ok() && four.check_shards(3, "").is_err());
    }

    #[test]
    fn names_that_the_kernel_would_cut_or_expand_are_refused() {
        for name in ["averyveryverylongname", "a/b", "tun%d", "..", "a:b"] {
            let message = settings(&format!("ustack --tun {name}")).unwrap_err();
            assert!(message.contains(&format!("--tun '{name}'")), "{message}");
        }
        assert!(settings("ustack --tun fifteen-bytes-x").is_ok());
    }

    #[test]
    fn files_are_checked_before_a_device_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().display();
        assert!(
            settings(&format!(
                "ustack --http-root {path} --capture {path}/a.pcapng"
            ))
            .is_ok()
        );
        for line in [
            format!("ustack --http-root {path}/none"),
            format!("ustack --capture {path}/none/a.pcapng"),
            format!("ustack --capture {path}"),
        ] {
            assert!(settings(&line).is_err(), "{line}");
        }
    }
}
