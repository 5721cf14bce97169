//! Flags and subcommands. The keys of the configuration file are the names of these flags: both
//! are read from the one [`Options`].

pub(crate) mod reading;
pub(crate) mod watching;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Deserializer};

use super::error::{Error, ExitStatus};
use reading::{EXPLAIN_EXAMPLES, PLOT_EXAMPLES, REPLAY_EXAMPLES};
pub(crate) use reading::{ExplainArgs, PlotArgs, ReplayArgs};
use watching::{SS_EXAMPLES, TOP_KEYS};
pub(crate) use watching::{SsArgs, TopArgs};

const EXAMPLES: &str = "\
Examples:
  sudo ustack                                  a host at 10.77.0.2 and fd77::2
  ustack run -- curl http://10.77.0.2/         the same without root, in its own network
  ustack run --forward -- curl example.org     reach the outside through the stack
  sudo ustack --http-root ./site --capture all.pcapng --annotate
  sudo ustack --addr 192.168.50.2/24 --host-addr 192.168.50.1/24
  sudo ustack --impair loss=1%,delay=10ms,seed=7
  sudo ustack --config ustack.toml             keys are the flags' names: mtu = 1400
  ustack replay trace.pcapng                   what would the stack have answered?
  ustack plot events.jsonl                     what did it think, connection by connection?
  ustack explain trace.pcapng                  what happened, and what went wrong?

Without root, on a device made once for you:
  sudo ip tuntap add ustack0 mode tun vnet_hdr multi_queue user \"$USER\"
  sudo ip address add 10.77.0.1/24 dev ustack0
  sudo ip address add fd77::1/64 dev ustack0
  sudo ip link set ustack0 up
  ustack

Exit codes:
  0 stopped as asked   1 other failure   2 wrong flag, value or configuration
  3 no TUN device or no right to it   4 device name, address or route is taken
  5 file or directory unusable   6 the device vanished while running";

const RUN_EXAMPLES: &str = "\
Examples:
  ustack run -- curl http://10.77.0.2/         the stack's own page
  ustack run --forward -- curl example.org     whatever you reach, through the stack
  ustack run --forward --impair loss=5%,delay=50ms -- ./my-app
  ustack run -- bash                           look around

The command keeps its user, directory and environment, and its exit code is passed on (127: not
found, 126: not executable).";

/// A TCP/UDP/IP stack in user space: a host of its own behind a TUN device.
///
/// It answers ping, HTTP on port 80, echo on 7, discard on 9 (TCP and UDP) and chargen on 19.
#[derive(Debug, Parser)]
#[command(
    name = "ustack",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What to do; `serve` when left out.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    /// The options of `serve`.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the host up and serve until a signal (the default)
    Serve(Box<Options>),
    /// Run a command in a network of its own, behind the stack; needs no root
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Replay a capture with the stack in the place of one end, and say where it does otherwise
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// List the connections of a running host, with TCP_INFO
    #[command(after_help = SS_EXAMPLES)]
    Ss(SsArgs),
    /// Watch the connections of a running host
    #[command(after_help = TOP_KEYS)]
    Top(TopArgs),
    /// Draw recorded connections over time: a page each
    #[command(after_help = PLOT_EXAMPLES)]
    Plot(PlotArgs),
    /// Tell what happened in a capture, connection by connection, and what went wrong
    #[command(after_help = EXPLAIN_EXAMPLES)]
    Explain(ExplainArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  ustack completions bash > \
        ~/.local/share/bash-completion/completions/ustack")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// `ustack run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// As for `serve`.
    #[command(flatten)]
    pub(crate) options: Options,
    /// The command and its arguments
    #[arg(last = true, required = true, num_args = 1.., value_name = "CMD")]
    pub(crate) command: Vec<OsString>,
}

/// Everything that flags and the configuration file can say. What is `None` or empty was not
/// said; `Settings` knows the defaults.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Options {
    /// Name of the TUN device to make or to attach to [default: ustack0]
    #[arg(long, value_name = "NAME")]
    pub(crate) tun: Option<String>,
    /// Use this open TUN file descriptor instead; its owner has set addresses and link
    #[arg(long, value_name = "FD", conflicts_with = "tun")]
    #[serde(skip)]
    pub(crate) tun_fd: Option<i32>,
    /// MTU of the device in bytes, 1280 to 65535, from 576 without IPv6 [default: 1500]
    #[arg(long, value_name = "BYTES")]
    pub(crate) mtu: Option<u32>,
    /// Address of the stack, repeatable; replaces both defaults [default: 10.77.0.2, fd77::2]
    #[arg(long, value_name = "ADDR[/LEN]", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) addr: Vec<String>,
    /// Address of the host's side, repeatable [default: 10.77.0.1/24, fd77::1/64]
    #[arg(long, value_name = "ADDR/LEN", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) host_addr: Vec<String>,
    /// How to use the device: with checksum and segmentation offload or without [default: auto]
    #[arg(long, value_name = "MODE")]
    pub(crate) device: Option<DeviceMode>,
    /// Shards, 1 to 256: threads, each with a queue of the device and connections of its own. More
    /// of them help many connections, never a single one [default: the cores this process may run
    /// on; 1 with --impair, without offload, on a device with one queue, for run]
    #[arg(long, value_name = "N")]
    pub(crate) queues: Option<u32>,
    /// Look for packets up to this long, such as 50us, before sleeping. Saves waking a thread for
    /// each of them, and costs up to a whole core per shard while they come that often; it stops by
    /// itself when they come seldom. Where the other end or an application needs the core, all gets
    /// slower [default: 0, off]
    #[arg(long, value_name = "TIME")]
    pub(crate) busy_poll: Option<String>,
    /// Memory of everything on its way between applications and peers, such as 64M (units K, M, G):
    /// buffers, queues, fragments, over all shards; at least 2M for each. When it gets scarce all
    /// flows go slower, and newcomers wait. Connections themselves are not counted
    /// [default: no limit but that of each connection]
    #[arg(long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Congestion control [default: cubic]
    #[arg(long, value_name = "NAME")]
    pub(crate) cc: Option<Congestion>,
    /// Serve the files of this directory over HTTP
    #[arg(long, value_name = "DIR")]
    pub(crate) http_root: Option<PathBuf>,
    /// Relay connections to other addresses through the host's own sockets
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide_possible_values = true)]
    pub(crate) forward: Option<bool>,
    /// Let --forward reach these loopback or link-local addresses of the host, repeatable
    #[arg(long, value_name = "ADDR[/LEN]", value_delimiter = ',')]
    #[serde(deserialize_with = "one_or_many")]
    pub(crate) forward_allow: Vec<String>,
    /// Record every packet of the device, for Wireshark
    #[arg(long, value_name = "FILE.pcapng")]
    pub(crate) capture: Option<PathBuf>,
    /// Socket by which `ustack ss` and `ustack top` look at this host; "off" for none [default:
    /// ustack/NAME.sock in $XDG_RUNTIME_DIR or /run/user/UID, in /run for root; NAME is the device's]
    #[arg(long, value_name = "PATH|off")]
    pub(crate) control: Option<PathBuf>,
    /// Offer metrics in OpenMetrics' format at this address of the host, as
    /// http://ADDR:PORT/metrics; with a port alone at 127.0.0.1 [default: off]
    #[arg(long, value_name = "[ADDR:]PORT")]
    pub(crate) metrics: Option<String>,
    /// Say beside each packet of --capture why it was sent or what became of it, and show those that
    /// --impair has lost
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide_possible_values = true)]
    pub(crate) annotate: Option<bool>,
    /// Bytes of each packet that --capture keeps [default: all]
    #[arg(long, value_name = "BYTES")]
    pub(crate) snaplen: Option<u32>,
    /// Packets that --capture keeps: "host ADDR", "port N", "tcp", "udp", "icmp", several for all of
    /// them, "or" between alternatives [default: all]
    #[arg(long, value_name = "FILTER")]
    pub(crate) capture_filter: Option<String>,
    /// Which way packets that --capture keeps go, seen from the stack: "in" or "out" [default: both]
    #[arg(long, value_name = "in|out")]
    pub(crate) capture_direction: Option<String>,
    /// Go on in another file at this size (units K, M, G), after this time (s, min, h) or either,
    /// such as 100M,10min: FILE_00001.pcapng, FILE_00002.pcapng and so on
    #[arg(long, value_name = "SIZE|TIME")]
    pub(crate) capture_rotate: Option<String>,
    /// Files that --capture-rotate keeps; the oldest go [default: 10]
    #[arg(long, value_name = "N")]
    pub(crate) capture_files: Option<u32>,
    /// Write what TCP does to this file, a line of JSON for each packet, loss, timer and change of
    /// state (docs/events.md)
    #[arg(long, value_name = "FILE.jsonl")]
    pub(crate) events: Option<PathBuf>,
    /// Where the flight recorder writes the last packets with comments, when something goes wrong: a
    /// connection is reset, times out three times in a row or stalls, the program panics or gets
    /// SIGUSR1. At most 16 files and 128 MB; "off" to do without [default: ~/.local/state/ustack]
    #[arg(long, value_name = "DIR|off")]
    pub(crate) recorder: Option<PathBuf>,
    /// Memory of the flight recorder for each shard (units K, M, G) [default: 8M]
    #[arg(long, value_name = "BYTES")]
    pub(crate) recorder_size: Option<String>,
    /// Faults for packets in both directions, such as "loss=1%,delay=10ms,jitter=2ms,
    /// reorder=1%,duplicate=0.5%,corrupt=0.1%,rate=100mbit,queue=100,seed=7". Also hold=5ms
    /// (reordered packets come late), gemodel=1%/30% (loss in bursts), drop=5;8-12;every:100 (loss
    /// by number), queue=500kB, codel (with target=5ms,interval=100ms), ce=1% (ECN marks), mtu=1400
    #[arg(long, value_name = "FAULTS")]
    pub(crate) impair: Option<String>,
    /// Faults for packets to the stack
    #[arg(long, value_name = "FAULTS", conflicts_with = "impair")]
    pub(crate) impair_in: Option<String>,
    /// Faults for packets from the stack
    #[arg(long, value_name = "FAULTS", conflicts_with = "impair")]
    pub(crate) impair_out: Option<String>,
    /// Log filter, such as "debug" or "ustack=trace,warn"; beats RUST_LOG [default: warn]
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// Under sudo, stay root instead of becoming the calling user
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true,
          default_missing_value = "true", hide_possible_values = true)]
    pub(crate) keep_root: Option<bool>,
    /// Read options from this TOML file; flags win over it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub(crate) config: Option<PathBuf>,
}

/// How to use a TUN device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DeviceMode {
    /// Offload where the kernel grants it, else plain.
    #[default]
    Auto,
    /// Checksum and segmentation offload, or fail.
    Offload,
    /// One packet per call, joined by the kernel where that can be had (NAPI).
    Plain,
}

/// Congestion control by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Congestion {
    /// NewReno (RFC 6582).
    Reno,
    /// CUBIC (RFC 9438).
    #[default]
    Cubic,
    /// BBR version 3 (draft-ietf-ccwg-bbr), for paths whose losses are not congestion.
    Bbr,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or an array of strings")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// Prints help, the version, or what is wrong with the arguments.
pub(crate) fn report(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let _ = match text.strip_prefix("error: ") {
        Some(text) => write!(std::io::stderr().lock(), "ustack: error: {text}"),
        None => write!(std::io::stderr().lock(), "{text}"),
    };
    Error::new(ExitStatus::Usage, "").exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_is_the_default_and_takes_the_same_options() {
        let bare = parse("ustack --mtu 1400 --addr 10.1.0.2/24,fd01::2").unwrap();
        assert!(bare.command.is_none());
        assert_eq!(bare.options.mtu, Some(1400));
        assert_eq!(bare.options.addr, ["10.1.0.2/24", "fd01::2"]);
        let Some(Command::Serve(options)) = parse("ustack serve --mtu 1400").unwrap().command
        else {
            panic!("not serve");
        };
        assert_eq!(options.mtu, Some(1400));
    }

    #[test]
    fn a_switch_can_be_turned_off_again() {
        assert_eq!(
            parse("ustack --forward").unwrap().options.forward,
            Some(true)
        );
        let off = parse("ustack --forward=false").unwrap().options.forward;
        assert_eq!(off, Some(false));
        assert_eq!(parse("ustack").unwrap().options.forward, None);
    }

    #[test]
    fn unknown_flags_and_modes_are_refused() {
        for line in [
            "ustack --mtuu 3",
            "ustack --device fast",
            "ustack --tun a --tun-fd 3",
            "ustack --impair loss=1% --impair-in loss=1%",
            "ustack frob",
        ] {
            assert!(parse(line).unwrap_err().use_stderr(), "{line}");
        }
    }
}
