//! One simulation to run, everything resolved: hosts, lanes, routes and what happens when.

use ustack::device::impair::ImpairSpec;
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{Config as TcpConfig, SocketOptions};

use crate::app::Job;

/// A network, who uses it, and for how long.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Directions of links, and private wires.
    pub lanes: Vec<LaneSpec>,
    /// Who talks to whom.
    pub flows: Vec<FlowSpec>,
    /// Changes of lanes, by time.
    pub changes: Vec<Change>,
    /// When it ends.
    pub duration: Duration,
    /// From one sample to the next.
    pub sample: Duration,
    /// Results count from here on.
    pub from: Instant,
    /// Names of the series to record; `None`: all.
    pub series: Option<Vec<String>>,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub struct LaneSpec {
    /// The link's name, with ` (back)` for the way back.
    pub name: String,
    /// What it does to packets.
    pub spec: ImpairSpec,
    /// Whether results tell of it: not of private wires.
    pub is_reported: bool,
}

/// A flow with the hosts that it runs between.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// Its name.
    pub name: String,
    /// Its congestion control's name.
    pub algorithm: String,
    /// What the applications do.
    pub job: Job,
    /// When the client begins.
    pub start: Instant,
    /// When it is over at the latest.
    pub stop: Instant,
    /// The connections from client to server: one, or one on each side of every relay.
    pub legs: Vec<Leg>,
    /// TCP of its hosts.
    pub tcp: TcpConfig,
    /// Sockets of its hosts.
    pub options: SocketOptions,
    /// The MTU of its hosts' devices.
    pub mtu: u16,
    /// Its hosts hand out super-segments, as with a device that cuts them.
    pub tso: bool,
}

/// The way of one connection.
#[derive(Clone, Debug)]
pub struct Leg {
    /// Lanes from the client's side.
    pub there: Vec<usize>,
    /// Lanes to the client's side.
    pub back: Vec<usize>,
}

/// A lane changes under way.
#[derive(Clone, Copy, Debug)]
pub struct Change {
    /// When.
    pub at: Instant,
    /// Which, by its number.
    pub lane: usize,
    /// How.
    pub to: ChangeTo,
}

/// What changes.
#[derive(Clone, Copy, Debug)]
pub enum ChangeTo {
    /// The rate, in bits per second.
    Rate(u64),
    /// The delay.
    Delay(Duration),
    /// The probability of loss.
    Loss(f64),
    /// The queue's limit.
    Queue(ustack::device::impair::QueueLimit),
}

impl FlowSpec {
    /// The flow's base round-trip time over `lanes`, all legs together.
    pub fn base_rtt(&self, lanes: &[LaneSpec]) -> Duration {
        let all = self
            .legs
            .iter()
            .flat_map(|leg| leg.there.iter().chain(&leg.back));
        all.map(|lane| lanes[*lane].spec.delay).sum()
    }
}
