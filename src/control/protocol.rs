//! What goes over the socket: one JSON object a line, in either direction.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use ustack_tcp::State;

use super::TcpInfo;
use crate::listing::Listed;
use crate::metrics::{Stats, TABLE};

/// The version of the protocol. Fields and requests may be added to it; what there is keeps its
/// meaning.
pub const PROTOCOL: u32 = 1;

/// The first line to every client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// The version of the program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The name of its device.
    pub device: String,
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "get", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// All connections that a filter lets through, a line each, then [`Answer::End`].
    Connections(Filter),
    /// All counters.
    Counters {},
    /// What the stack is.
    About {},
    /// Resets one connection.
    Reset {
        /// Its [key](Listed::key).
        id: String,
        /// Its own address and port.
        local: SocketAddr,
        /// The peer's.
        remote: SocketAddr,
    },
}

/// Which connections; what is left out lets all through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// States by the names that [`state_name`] gives, any of which will do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<String>,
    /// A port of either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// An address of either end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<IpAddr>,
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// One connection.
    Connection(Box<Connection>),
    /// There are no more.
    End {
        /// How many there were.
        connections: usize,
        /// Nanoseconds since the program began, for rates.
        time: u64,
    },
    /// All counters.
    Counters {
        /// By group and name, as in [`TABLE`].
        groups: Counters,
        /// Nanoseconds since the program began.
        time: u64,
    },
    /// What the stack is.
    About(About),
    /// The connection is reset.
    Reset {
        /// Its key.
        id: String,
    },
    /// Nothing was done.
    Error(Refusal),
}

/// Counters by group and name.
pub type Counters = BTreeMap<String, BTreeMap<String, u64>>;

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// `bad-request`, `too-long`, `busy` or `gone`.
    pub code: String,
    /// For people.
    pub message: String,
}

/// What the stack is, as its program knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// The version of the program.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The name of its device.
    pub device: String,
    /// Addresses of the stack, each with its prefix length.
    pub addresses: Vec<String>,
    /// MTU of the device, in bytes.
    pub mtu: u16,
    /// Whether the device takes and gives super-segments.
    pub offload: bool,
    /// Shards, each with a queue of the device.
    pub shards: usize,
    /// Nanoseconds since the program began.
    pub uptime: u64,
    /// What the socket itself counts.
    pub control: BTreeMap<String, u64>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Its [key](Listed::key).
    pub id: String,
    /// As [`state_name`] has it.
    pub state: String,
    /// Its own address and port.
    pub local: SocketAddr,
    /// The peer's.
    pub remote: SocketAddr,
    /// Bytes received and not yet read.
    pub recv_q: u32,
    /// Bytes written and not yet acknowledged.
    pub send_q: u32,
    /// Its congestion control (`TCP_CONGESTION`).
    pub congestion: String,
    /// `struct tcp_info`.
    pub tcp_info: TcpInfo,
}

impl From<&Listed> for Connection {
    fn from(listed: &Listed) -> Self {
        Self {
            id: listed.key.to_string(),
            state: state_name(listed.state).to_owned(),
            local: listed.flow.local,
            remote: listed.flow.remote,
            recv_q: listed.queued.unread,
            send_q: listed.queued.unacked,
            congestion: listed.congestion.to_owned(),
            tcp_info: TcpInfo::new(&listed.info, listed.state),
        }
    }
}

impl Filter {
    /// Whether it lets a connection through.
    pub fn matches(&self, listed: &Listed) -> bool {
        let Self { state, port, host } = self;
        let ends = [listed.flow.local, listed.flow.remote];
        let name = state_name(listed.state);
        (state.is_empty() || state.iter().any(|wanted| wanted == name))
            && port.is_none_or(|port| ends.iter().any(|end| end.port() == port))
            && host.is_none_or(|host| ends.iter().any(|end| end.ip() == host))
    }
}

/// All counters, as [`Answer::Counters`] has them.
pub(super) fn counters(stats: &Stats) -> Counters {
    let mut groups = Counters::new();
    for row in TABLE {
        let group = groups.entry(row.group.to_owned()).or_default();
        group.insert(row.name.to_owned(), row.value(stats));
    }
    groups
}

/// A state by the name that `ss` gives it.
pub const fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "UNCONN",
        State::Listen => "LISTEN",
        State::SynSent => "SYN-SENT",
        State::SynReceived => "SYN-RECV",
        State::Established => "ESTAB",
        State::FinWait1 => "FIN-WAIT-1",
        State::FinWait2 => "FIN-WAIT-2",
        State::CloseWait => "CLOSE-WAIT",
        State::Closing => "CLOSING",
        State::LastAck => "LAST-ACK",
        State::TimeWait => "TIME-WAIT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_documented() {
        let read = |text: &str| serde_json::from_str::<Request>(text);
        let all = Request::Connections(Filter::default());
        assert_eq!(read(r#"{"get":"connections"}"#).unwrap(), all);
        let some = Request::Connections(Filter {
            state: vec!["ESTAB".into()],
            port: Some(80),
            host: Some(IpAddr::from([10, 77, 0, 1])),
        });
        let text = r#"{"get":"connections","state":["ESTAB"],"port":80,"host":"10.77.0.1"}"#;
        assert_eq!(read(text).unwrap(), some);
        assert_eq!(serde_json::to_string(&some).unwrap(), text);
        assert_eq!(read(r#"{"get":"counters"}"#).unwrap(), Request::Counters {});
        let text = r#"{"get":"reset","id":"0:1:2","local":"[fd77::2]:80","remote":"[fd77::1]:9"}"#;
        assert!(matches!(read(text).unwrap(), Request::Reset { .. }));
        for text in [
            "{}",
            "[]",
            r#"{"get":"everything"}"#,
            r#"{"get":"connections","prot":80}"#,
            r#"{"get":"connections","port":65536}"#,
            r#"{"get":"reset","id":"0:1:2"}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn counters_stand_under_their_groups() {
        let mut stats = Stats::default();
        stats.tcp.counters.retrans_segs = 3;
        let groups = counters(&stats);
        assert_eq!(groups["Tcp"]["RetransSegs"], 3);
        let rows: usize = groups.values().map(BTreeMap::len).sum();
        assert_eq!(rows, TABLE.len());
    }
}
