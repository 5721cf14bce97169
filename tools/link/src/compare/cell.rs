//! The paths that are compared.

use std::fmt;
use std::time::Duration;

use ustack::device::impair::{ImpairSpec, QueueLimit};

use crate::joint::Specs;

/// The least a queue holds: ten packets, an initial window (RFC 6928). One BDP of 20 Mbit/s and
/// 1 ms would be less than two.
const LEAST_QUEUE: u64 = 15_000;

/// A congestion control that all senders know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Algorithm {
    /// CUBIC.
    Cubic,
    /// NewReno.
    Reno,
}

impl Algorithm {
    /// Its name for `TCP_CONGESTION`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cubic => "cubic",
            Self::Reno => "reno",
        }
    }
}

/// One path and one algorithm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Mbit/s.
    pub rate: u32,
    /// Round trip in ms, without the queue.
    pub rtt: u32,
    /// Packets lost, in percent.
    pub loss: f64,
    /// Packets reordered, in percent.
    pub reorder: f64,
    /// Congestion control.
    pub algorithm: Algorithm,
}

const RATES: [u32; 2] = [20, 100];
const RTTS: [u32; 4] = [1, 20, 66, 200];
const LOSSES: [f64; 5] = [0.0, 0.01, 0.1, 1.0, 3.0];
const REORDERS: [f64; 2] = [0.0, 1.0];

impl Cell {
    const fn new(rate: u32, rtt: u32, loss: f64, reorder: f64, algorithm: Algorithm) -> Self {
        Self {
            rate,
            rtt,
            loss,
            reorder,
            algorithm,
        }
    }

    /// The cells that are repeated.
    pub const NAMED: [Self; 12] = [
        Self::new(20, 1, 1.0, 0.0, Algorithm::Cubic),
        Self::new(20, 20, 3.0, 0.0, Algorithm::Cubic),
        Self::new(20, 66, 0.0, 1.0, Algorithm::Cubic),
        Self::new(20, 66, 0.1, 0.0, Algorithm::Cubic),
        Self::new(20, 66, 1.0, 1.0, Algorithm::Cubic),
        Self::new(20, 200, 0.01, 0.0, Algorithm::Cubic),
        Self::new(100, 20, 0.01, 0.0, Algorithm::Cubic),
        Self::new(100, 20, 0.1, 1.0, Algorithm::Cubic),
        Self::new(100, 66, 0.0, 0.0, Algorithm::Cubic),
        Self::new(100, 66, 0.01, 1.0, Algorithm::Cubic),
        Self::new(100, 66, 0.1, 1.0, Algorithm::Cubic),
        Self::new(100, 200, 0.0, 0.0, Algorithm::Cubic),
    ];

    /// The cells that are run with Reno too.
    pub const RENO: [Self; 4] = [
        Self::new(20, 20, 1.0, 0.0, Algorithm::Reno),
        Self::new(20, 66, 0.0, 1.0, Algorithm::Reno),
        Self::new(20, 66, 0.1, 0.0, Algorithm::Reno),
        Self::new(100, 20, 0.01, 0.0, Algorithm::Reno),
    ];

    /// Every combination, with CUBIC.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for rate in RATES {
            for rtt in RTTS {
                for loss in LOSSES {
                    for reorder in REORDERS {
                        cells.push(Self::new(rate, rtt, loss, reorder, Algorithm::Cubic));
                    }
                }
            }
        }
        cells
    }

    /// Whether it is one of [`Cell::NAMED`].
    pub fn is_named(&self) -> bool {
        Self::NAMED.contains(self)
    }

    /// Bytes that may wait for the bottleneck: what fits into one round trip.
    pub fn queue(&self) -> u64 {
        let bdp = u64::from(self.rate) * 1_000_000 / 8 * u64::from(self.rtt) / 1000;
        bdp.max(LEAST_QUEUE)
    }

    /// The path: faults and bottleneck on the way of the data, half of the round trip each way.
    pub fn specs(&self, seed: u64) -> Specs {
        let delay = Duration::from_millis(self.rtt.into()) / 2;
        let ab = ImpairSpec {
            loss: self.loss / 100.0,
            reorder: self.reorder / 100.0,
            delay,
            rate: Some(u64::from(self.rate) * 1_000_000),
            queue: Some(QueueLimit::Bytes(self.queue() as usize)),
            seed: Some(seed),
            ..ImpairSpec::default()
        };
        let ba = ImpairSpec {
            delay,
            seed: Some(seed),
            ..ImpairSpec::default()
        };
        Specs { ab, ba }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rate,
            rtt,
            loss,
            reorder,
            algorithm,
        } = self;
        let name = algorithm.name();
        write!(
            f,
            "{rate} Mbit/s, {rtt} ms, loss {loss} %, reorder {reorder} %, {name}"
        )
    }
}
