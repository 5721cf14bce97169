//! Commands that look at a running host.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

pub(super) const SS_EXAMPLES: &str = "\
Examples:
  ustack ss                                    all connections
  ustack ss --state established --port 80
  ustack ss --host 10.77.0.1 --json | jq .tcp_info.rtt
  ustack ss --counters                         what was counted, under the names of netstat

Lines and names are those of `ss -ti`; docs/control.md describes the socket.

Exit codes: 0 all is well   1 no running host, or it does not answer   2 wrong flag or value";

pub(super) const TOP_KEYS: &str = "\
Keys:
  up, down, page up, page down, home, end   select a connection
  enter     show it in detail, or no more
  < >       sort by another column        r   turn the order round
  /         filter: words that state, addresses, ports or congestion control hold
  space     hold the picture              k   reset the selected connection, once confirmed
  esc       back                          q   quit

Rates are bits per second of payload received in order (IN) and acknowledged by the peer (OUT).

Exit codes: 0 all is well   1 no running host, or it has ended   2 wrong flag or value";

/// `ustack ss`.
#[derive(Debug, Args)]
pub(crate) struct SsArgs {
    /// A connection a line, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// What was counted, instead of connections
    #[arg(long, conflicts_with_all = ["state", "port", "host"])]
    pub(crate) counters: bool,
    /// Which host and which connections
    #[command(flatten)]
    pub(crate) of: Watched,
}

/// `ustack top`.
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub(crate) interval: f64,
    /// Which host and which connections
    #[command(flatten)]
    pub(crate) of: Watched,
}

/// Whom to ask, and for what.
#[derive(Clone, Debug, Args)]
pub(crate) struct Watched {
    /// The control socket of the host [default: that of the only one running]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// Only connections in this state, repeatable, such as established or time-wait
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub(crate) state: Vec<String>,
    /// Only connections of which an end has this port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Only connections of which an end has this address
    #[arg(long, value_name = "ADDR")]
    pub(crate) host: Option<IpAddr>,
}
