//! The sections of an experiment's file, as they are written.

use serde::Deserialize;

use crate::recording::Plot;
use crate::units::{Queue, Rate, Share, Size, Time};

/// A file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) experiment: Head,
    #[serde(default)]
    pub(super) link: Vec<LinkTable>,
    #[serde(default)]
    pub(super) flow: Vec<FlowTable>,
    #[serde(default)]
    pub(super) change: Vec<ChangeTable>,
    #[serde(default)]
    pub(super) sweep: Vec<SweepTable>,
    #[serde(default)]
    pub(super) report: ReportTable,
}

/// `[experiment]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    pub(super) name: String,
    #[serde(default)]
    pub(super) title: String,
    #[serde(default)]
    pub(super) about: String,
    pub(super) duration: Time,
    #[serde(default = "one")]
    pub(super) seed: u64,
    pub(super) sample: Option<Time>,
    #[serde(default)]
    pub(super) from: Time,
}

const fn one() -> u64 {
    1
}

/// What one direction of a link may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LaneTable {
    pub(super) rate: Option<Rate>,
    pub(super) delay: Option<Time>,
    pub(super) jitter: Option<Time>,
    pub(super) loss: Option<Share>,
    pub(super) gemodel: Option<String>,
    pub(super) drop: Option<String>,
    pub(super) reorder: Option<Share>,
    pub(super) hold: Option<Time>,
    pub(super) duplicate: Option<Share>,
    pub(super) corrupt: Option<Share>,
    pub(super) ce: Option<Share>,
    pub(super) mtu: Option<u16>,
    pub(super) queue: Option<Queue>,
    pub(super) codel: Option<bool>,
    pub(super) target: Option<Time>,
    pub(super) interval: Option<Time>,
}

/// `[[link]]`: the keys of its forward direction, and `[link.back]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinkTable {
    pub(super) name: String,
    pub(super) rate: Option<Rate>,
    pub(super) delay: Option<Time>,
    pub(super) jitter: Option<Time>,
    pub(super) loss: Option<Share>,
    pub(super) gemodel: Option<String>,
    pub(super) drop: Option<String>,
    pub(super) reorder: Option<Share>,
    pub(super) hold: Option<Time>,
    pub(super) duplicate: Option<Share>,
    pub(super) corrupt: Option<Share>,
    pub(super) ce: Option<Share>,
    pub(super) mtu: Option<u16>,
    pub(super) queue: Option<Queue>,
    pub(super) codel: Option<bool>,
    pub(super) target: Option<Time>,
    pub(super) interval: Option<Time>,
    #[serde(default)]
    pub(super) back: LaneTable,
}

impl LinkTable {
    /// The keys of the forward direction.
    pub(super) fn forward(&self) -> LaneTable {
        LaneTable {
            rate: self.rate,
            delay: self.delay,
            jitter: self.jitter,
            loss: self.loss,
            gemodel: self.gemodel.clone(),
            drop: self.drop.clone(),
            reorder: self.reorder,
            hold: self.hold,
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            ce: self.ce,
            mtu: self.mtu,
            queue: self.queue,
            codel: self.codel,
            target: self.target,
            interval: self.interval,
        }
    }
}

/// What a flow's applications do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    #[default]
    Bulk,
    OnOff,
    Messages,
    Requests,
}

/// What carries messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Carrier {
    #[default]
    Tcp,
    Udp,
}

/// Congestion control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Algorithm {
    Reno,
    #[default]
    Cubic,
    Bbr,
}

/// Which data leaves at a rate, rather than at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Paced {
    Off,
    SlowStart,
    On,
}

/// How losses are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Detection {
    Rack,
    Rfc6675,
}

/// `[[flow]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowTable {
    pub(super) name: String,
    #[serde(default = "one_flow")]
    pub(super) count: usize,
    pub(super) path: Option<Vec<String>>,
    pub(super) split: Option<String>,
    pub(super) rtt: Option<Time>,
    #[serde(default)]
    pub(super) reverse: bool,
    #[serde(default)]
    pub(super) start: Time,
    /// How much later each copy starts than the one before.
    #[serde(default)]
    pub(super) stagger: Time,
    pub(super) stop: Option<Time>,
    #[serde(default)]
    pub(super) kind: Kind,
    // TCP.
    pub(super) congestion: Option<Algorithm>,
    pub(super) hystart: Option<bool>,
    pub(super) pacing: Option<Paced>,
    pub(super) ecn: Option<bool>,
    pub(super) detection: Option<Detection>,
    pub(super) timestamps: Option<bool>,
    pub(super) quick_acks: Option<u16>,
    pub(super) tso: Option<bool>,
    pub(super) mtu: Option<u16>,
    pub(super) send_buffer: Option<Size>,
    pub(super) recv_buffer: Option<Size>,
    pub(super) nodelay: Option<bool>,
    // Bulk.
    pub(super) bytes: Option<Size>,
    // On and off.
    pub(super) on: Option<Time>,
    pub(super) off: Option<Time>,
    // Messages.
    pub(super) transport: Option<Carrier>,
    pub(super) size: Option<Size>,
    pub(super) every: Option<Time>,
    pub(super) number: Option<u64>,
    // Requests.
    pub(super) fast_open: Option<bool>,
    pub(super) steps: Option<Vec<StepTable>>,
}

const fn one_flow() -> usize {
    1
}

/// A round trip of a request flow.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StepTable {
    pub(super) label: String,
    pub(super) send: Size,
    pub(super) receive: Size,
    #[serde(default)]
    pub(super) think: Time,
}

/// `[[change]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeTable {
    pub(super) at: Time,
    pub(super) link: String,
    /// The way back changes, instead of the way there.
    #[serde(default)]
    pub(super) back: bool,
    pub(super) rate: Option<Rate>,
    pub(super) delay: Option<Time>,
    pub(super) loss: Option<Share>,
    pub(super) queue: Option<Queue>,
}

/// One key, or several that change together.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Keys {
    One(String),
    Several(Vec<String>),
}

/// `[[sweep]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SweepTable {
    pub(super) name: String,
    pub(super) set: Keys,
    pub(super) values: Vec<toml::Value>,
    pub(super) labels: Option<Vec<String>>,
}

/// `[report]`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportTable {
    pub(super) columns: Option<Vec<String>>,
    pub(super) series: Option<Vec<String>>,
    #[serde(default)]
    pub(super) plot: Vec<Plot>,
}
