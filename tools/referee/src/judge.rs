//! One packet before the referee, and what is found wrong with it.

use std::time::Duration;

use crate::packet::TcpPacket;
use crate::rule::Rule;

/// A segment on its way past the referee.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    /// The caller's number of it.
    pub(crate) packet: usize,
    pub(crate) now: Duration,
    pub(crate) tcp: &'a TcpPacket,
    /// It may be a super-segment.
    pub(crate) offload: bool,
}

/// A rule broken.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) rule: Rule,
    pub(crate) packet: usize,
    pub(crate) what: String,
}

/// What is wrong with one segment.
#[derive(Debug)]
pub(crate) struct Faults {
    packet: usize,
    pub(crate) list: Vec<Fault>,
}

impl Faults {
    pub(crate) fn new(packet: usize) -> Self {
        Self {
            packet,
            list: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, rule: Rule, what: impl Into<String>) {
        let (packet, what) = (self.packet, what.into());
        self.list.push(Fault { rule, packet, what });
    }
}
