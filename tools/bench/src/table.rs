//! The rows: who meets whom at what work, and what must come of it.

use crate::subject::Subject::{self, *};
use crate::work::{Send, Work};

/// Who takes part in a row, by the name that its bars use.
#[derive(Clone, Copy, Debug)]
pub struct Contestant {
    /// Its name within the row.
    pub name: &'static str,
    /// Who it is.
    pub subject: Subject,
    /// What it does.
    pub work: Work,
}

/// What a figure must be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Demand {
    /// Nothing: it is told only.
    None,
    /// At least this ratio or value.
    AtLeast(f64),
    /// At most this ratio or value.
    AtMost(f64),
}

/// Which rounds must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Their median.
    Median,
    /// Every one.
    Every,
}

/// A figure of one contestant, alone or against others.
#[derive(Clone, Copy, Debug)]
pub struct Bar {
    /// Whose figure.
    pub of: &'static str,
    /// Which figure.
    pub figure: &'static str,
    /// Against whom: nobody, one, or the best of several.
    pub against: &'static [&'static str],
    /// What it must be.
    pub demand: Demand,
    /// Which rounds count.
    pub over: Over,
    /// The demand holds only where it asks for less than this contestant shows.
    pub where_below: Option<&'static str>,
    /// Who shows how much could be had; named where the demand is not met.
    pub limit: Option<&'static str>,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// The work in words.
    pub title: &'static str,
    /// What the reference's steadiness is judged by.
    pub figure: &'static str,
    /// Who takes part, in this order, in every round. The first is the reference.
    pub contestants: Vec<Contestant>,
    /// What must come of it.
    pub bars: Vec<Bar>,
}

impl Bar {
    const fn new(figure: &'static str, of: &'static str, against: &'static [&'static str]) -> Self {
        Self {
            of,
            figure,
            against,
            demand: Demand::None,
            over: Over::Median,
            where_below: None,
            limit: None,
        }
    }

    const fn at_least(self, value: f64) -> Self {
        let demand = Demand::AtLeast(value);
        Self { demand, ..self }
    }

    const fn at_most(self, value: f64) -> Self {
        let demand = Demand::AtMost(value);
        Self { demand, ..self }
    }

    const fn where_below(self, contestant: &'static str) -> Self {
        Self {
            where_below: Some(contestant),
            ..self
        }
    }

    const fn limited_by(self, contestant: &'static str) -> Self {
        Self {
            limit: Some(contestant),
            ..self
        }
    }

    const fn in_every_round(self) -> Self {
        let over = Over::Every;
        Self { over, ..self }
    }
}

/// Names of the peers within bulk rows.
const BULK_PEERS: &[&str] = &[
    "smoltcp",
    "ipstack",
    "netstack-smoltcp",
    "netstack-smoltcp-offload",
    "gvisor",
];

const GBIT: &str = "gbit_per_s";
const P50: &str = "p50_us";
const CONNECTIONS: &str = "connections_per_s";
const DATAGRAMS: &str = "datagrams_per_s";

/// All rows, in the order in which they are measured.
pub fn rows() -> Vec<Row> {
    let one = Work::Up { flows: 1 };
    let one_down = Work::Down { flows: 1 };
    let many = Work::Up { flows: 64 };
    let many_down = Work::Down { flows: 64 };
    let mut rows = vec![
        bulk("bulk-up", "bulk up, offload, 1 flow", one, (0.85, 5.0)),
        bulk(
            "bulk-down",
            "bulk down, offload, 1 flow",
            one_down,
            (0.80, 10.0),
        ),
        flows("flows-up", "bulk up, 64 flows", one, many),
        flows("flows-down", "bulk down, 64 flows", one_down, many_down),
        plain("plain-up", "bulk up, plain device", one),
        plain("plain-down", "bulk down, plain device", one_down),
        observed("observed-up", "bulk up, observed", one),
        observed("observed-down", "bulk down, observed", one_down),
        round_trips(),
        busy_poll(),
        connect(
            "connect-rst",
            "connect + round trip + RST",
            Work::ConnectRst,
        ),
        connect(
            "connect-fin",
            "connect + round trip + FIN",
            Work::ConnectFin,
        ),
        http(),
    ];
    rows.extend(datagrams());
    rows.extend([idle_memory(), idle_cpu()]);
    rows
}

/// With offload the probe is a limit and a bar, without it is none.
fn datagrams() -> [Row; 7] {
    let echo = |send| Work::UdpEcho { send };
    let up = |send| Work::UdpUp { send };
    let (single, joined) = (Send::Single, Send::Joined);
    let plain_echo = [ProbePlain, UstackPlain];
    let plain_up = [ProbePlain, LibraryPlain];
    let (program, library) = ([Probe, Ustack], [Probe, Library]);
    [
        udp("udp-echo", "UDP echo", echo(single), program, true),
        udp(
            "udp-echo-joined",
            "UDP echo, sent with UDP_SEGMENT",
            echo(joined),
            program,
            true,
        ),
        udp("udp-up", "UDP to the stack", up(single), library, true),
        udp(
            "udp-up-joined",
            "UDP to the stack, sent with UDP_SEGMENT",
            up(joined),
            library,
            true,
        ),
        udp(
            "udp-down",
            "UDP from the stack",
            Work::UdpDown,
            library,
            true,
        ),
        udp(
            "udp-echo-plain",
            "UDP echo, plain device",
            echo(single),
            plain_echo,
            false,
        ),
        udp(
            "udp-up-plain",
            "UDP to the stack, plain device",
            up(single),
            plain_up,
            false,
        ),
    ]
}

/// The row of this name.
pub fn row(name: &str) -> Option<Row> {
    rows().into_iter().find(|row| row.name == name)
}

impl Row {
    /// The contestant of this name.
    pub fn contestant(&self, name: &str) -> Option<&Contestant> {
        self.contestants
            .iter()
            .find(|contestant| contestant.name == name)
    }
}

fn contestants<const N: usize>(work: Work, named: [(&'static str, Subject); N]) -> Vec<Contestant> {
    let named = named.into_iter();
    named
        .map(|(name, subject)| Contestant {
            name,
            subject,
            work,
        })
        .collect()
}

fn bulk(
    name: &'static str,
    title: &'static str,
    work: Work,
    (of_limit, of_peers): (f64, f64),
) -> Row {
    Row {
        name,
        title,
        figure: GBIT,
        contestants: contestants(
            work,
            [
                ("probe", Probe),
                ("ustack", Ustack),
                ("linux", Linux),
                ("smoltcp", Smoltcp),
                ("ipstack", Ipstack),
                ("netstack-smoltcp", NetstackSmoltcp),
                ("netstack-smoltcp-offload", NetstackSmoltcpOffload),
                ("gvisor", Gvisor),
            ],
        ),
        bars: vec![
            Bar::new(GBIT, "ustack", &["probe"]).at_least(of_limit),
            Bar::new(GBIT, "ustack", BULK_PEERS)
                .at_least(of_peers)
                .where_below("probe"),
            Bar::new(GBIT, "ustack", &["linux"]),
        ],
    }
}

fn flows(name: &'static str, title: &'static str, one: Work, many: Work) -> Row {
    let contestant = |name, subject, work| Contestant {
        name,
        subject,
        work,
    };
    Row {
        name,
        title,
        figure: GBIT,
        contestants: vec![
            contestant("probe", Probe, one),
            contestant("ustack-1", Ustack, one),
            contestant("ustack-64", Ustack, many),
            contestant("probe-64", Probe, many),
        ],
        bars: vec![
            Bar::new(GBIT, "ustack-64", &["ustack-1"])
                .at_least(0.85)
                .limited_by("probe-64"),
            Bar::new(GBIT, "ustack-64", &["probe-64"]),
            Bar::new("tx_dropped", "ustack-64", &[])
                .at_most(0.0)
                .in_every_round(),
            Bar::new("slowest_to_mean", "ustack-64", &[])
                .at_least(0.5)
                .in_every_round(),
            Bar::new("flows_ended", "ustack-64", &[])
                .at_most(0.0)
                .in_every_round(),
        ],
    }
}

fn plain(name: &'static str, title: &'static str, work: Work) -> Row {
    Row {
        name,
        title,
        figure: GBIT,
        contestants: contestants(
            work,
            [
                ("probe-plain", ProbePlain),
                ("ustack-plain", UstackPlain),
                ("smoltcp", Smoltcp),
                ("smoltcp-napi", SmoltcpNapi),
            ],
        ),
        bars: vec![
            Bar::new(GBIT, "ustack-plain", &["smoltcp"])
                .at_least(1.5)
                .limited_by("probe-plain"),
            Bar::new(GBIT, "ustack-plain", &["probe-plain"]),
            Bar::new(GBIT, "ustack-plain", &["smoltcp-napi"]),
        ],
    }
}

fn round_trips() -> Row {
    Row {
        name: "round-trips",
        title: "64-byte round trips, 1 flow, p50",
        figure: P50,
        contestants: contestants(
            Work::RoundTrips,
            [("probe", Probe), ("ustack", Ustack), ("linux", Linux)],
        ),
        bars: vec![
            Bar::new(P50, "ustack", &["probe"]).at_most(1.05),
            Bar::new(P50, "ustack", &["linux"]),
        ],
    }
}

/// What it costs to look.
fn observed(name: &'static str, title: &'static str, work: Work) -> Row {
    Row {
        name,
        title,
        figure: GBIT,
        contestants: contestants(
            work,
            [
                ("unobserved", UstackUnobserved),
                ("observed", UstackObserved),
                ("capturing", UstackAnnotated),
            ],
        ),
        bars: vec![
            Bar::new(GBIT, "observed", &["unobserved"]).at_least(0.95),
            Bar::new(GBIT, "capturing", &["unobserved"]),
        ],
    }
}

fn busy_poll() -> Row {
    Row {
        name: "busy-poll",
        title: "64-byte round trips, busy-polling, p50",
        figure: P50,
        contestants: contestants(
            Work::RoundTrips,
            [
                ("probe-spin", ProbeSpin),
                ("ustack-busy-poll", UstackBusyPoll),
                ("linux", Linux),
            ],
        ),
        bars: vec![
            Bar::new(P50, "ustack-busy-poll", &["probe-spin"]).at_most(1.2),
            Bar::new(P50, "ustack-busy-poll", &["linux"]),
        ],
    }
}

fn connect(name: &'static str, title: &'static str, work: Work) -> Row {
    Row {
        name,
        title,
        figure: CONNECTIONS,
        contestants: contestants(
            work,
            [
                ("probe", Probe),
                ("ustack", Ustack),
                ("linux", Linux),
                ("smoltcp", Smoltcp),
                ("ustack-busy-poll", UstackBusyPoll),
            ],
        ),
        bars: vec![
            Bar::new(CONNECTIONS, "ustack", &["probe"]).at_least(0.93),
            Bar::new(CONNECTIONS, "ustack", &["linux"])
                .at_least(0.95)
                .limited_by("probe"),
            Bar::new(CONNECTIONS, "ustack", &["smoltcp"])
                .at_least(2.0)
                .limited_by("probe"),
            Bar::new(CONNECTIONS, "ustack-busy-poll", &["smoltcp"]),
            Bar::new("errors", "ustack", &[])
                .at_most(0.0)
                .in_every_round(),
        ],
    }
}

fn http() -> Row {
    const REQUESTS: &str = "requests_per_s";
    Row {
        name: "http",
        title: "wrk -t1 -c64, a file of 1 KiB over HTTP",
        figure: REQUESTS,
        contestants: contestants(Work::Http, [("linux", Linux), ("ustack", Ustack)]),
        bars: vec![
            Bar::new(REQUESTS, "ustack", &["linux"]).at_least(1.0),
            Bar::new("failed", "ustack", &[])
                .at_most(0.0)
                .in_every_round(),
        ],
    }
}

fn udp(
    name: &'static str,
    title: &'static str,
    work: Work,
    [probe, ustack]: [Subject; 2],
    offload: bool,
) -> Row {
    let against_probe = Bar::new(DATAGRAMS, "ustack", &["probe"]);
    let against_smoltcp = Bar::new(DATAGRAMS, "ustack", &["smoltcp"]).limited_by("probe");
    Row {
        name,
        title,
        figure: DATAGRAMS,
        contestants: contestants(
            work,
            [("probe", probe), ("ustack", ustack), ("smoltcp", Smoltcp)],
        ),
        bars: if offload {
            vec![against_probe.at_least(0.9), against_smoltcp.at_least(3.0)]
        } else {
            vec![against_probe, against_smoltcp]
        },
    }
}

fn idle_memory() -> Row {
    const BYTES: &str = "bytes_per_connection";
    Row {
        name: "idle-memory",
        title: "memory of an idle echo connection with its task",
        figure: BYTES,
        contestants: contestants(
            Work::Idle {
                connections: 10_000,
            },
            [("ustack", Library)],
        )
        .into_iter()
        .chain(contestants(
            Work::Idle { connections: 5000 },
            [("ipstack", Ipstack), ("gvisor", Gvisor)],
        ))
        .collect(),
        bars: vec![
            Bar::new(BYTES, "ustack", &[]).at_most(1500.0),
            Bar::new(BYTES, "ustack", &["ipstack"]),
            Bar::new(BYTES, "ustack", &["gvisor"]),
        ],
    }
}

fn idle_cpu() -> Row {
    Row {
        name: "idle-cpu",
        title: "CPU with 100,000 idle connections",
        figure: "rss_after_mb",
        contestants: contestants(
            Work::Idle {
                connections: 100_000,
            },
            [("ustack", Library)],
        ),
        bars: vec![
            Bar::new("idle_cpu_percent", "ustack", &[]).at_most(1.0),
            Bar::new("bytes_per_connection", "ustack", &[]),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn rows_are_consistent() {
        let mut names = HashSet::new();
        for row in rows() {
            assert!(names.insert(row.name), "{} twice", row.name);
            assert!(!row.bars.is_empty() && !row.contestants.is_empty());
            let here: HashSet<_> = row.contestants.iter().map(|one| one.name).collect();
            assert_eq!(
                here.len(),
                row.contestants.len(),
                "{}: a name twice",
                row.name
            );
            for bar in &row.bars {
                let mut named = bar.against.to_vec();
                named.push(bar.of);
                named.extend(bar.where_below);
                for name in named {
                    assert!(here.contains(name), "{}: who is {name}?", row.name);
                }
            }
        }
    }
}
