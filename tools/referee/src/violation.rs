//! What the referee finds.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::rule::Rule;

/// One direction of a conversation. Ports are 0 where the packet has none that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// The end that sends.
    pub source: SocketAddr,
    /// The end that is sent to.
    pub destination: SocketAddr,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {}", self.source, self.destination)
    }
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// By which packet, in the caller's numbers. Of what was left undone: the packet that called
    /// for it.
    pub packet: usize,
    /// When.
    pub at: Duration,
    /// By its source.
    pub flow: Flow,
    /// How: a sentence about the packet. Numbers in it count from the ISN.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            packet,
            at,
            flow,
            what,
        } = self;
        let (name, source) = (rule.name(), rule.source());
        let at = at.as_secs_f64();
        write!(
            f,
            "packet {packet} at {at:.6} s, {flow}: {name}: {what} ({source})"
        )
    }
}
