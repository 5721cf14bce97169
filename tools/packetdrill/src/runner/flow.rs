//! One connection of a script: how its numbers and those on the wire belong together.

use std::collections::HashMap;
use std::net::SocketAddr;

use ustack::tcp::testing::script::ast::{TcpLine, TcpOption, flag};

/// A connection. Scripts count sequence numbers from the SYNs on; those of a SYN itself, and the
/// number that acknowledges it, stand as the script gives them.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The script's descriptor, once a call has named it.
    pub(super) fd: Option<i64>,
    /// On the wire.
    pub(super) local_isn: Option<u32>,
    /// That of the first SYN.
    pub(super) first_isn: Option<u32>,
    pub(super) remote_isn: u32,
    /// In the script.
    script_local_isn: u32,
    script_remote_isn: u32,
    has_remote_isn: bool,
    /// The peer's last SYN: its number in the script and on the wire.
    last_syn: Option<(u32, u32)>,
    /// What `TS val` of the script stood for on the wire.
    timestamps: HashMap<u32, u32>,
    first_timestamp: Option<(u32, u32)>,
}

impl Flow {
    pub(super) fn new(local: SocketAddr, remote: SocketAddr, peer_isn: u32) -> Self {
        Self {
            local,
            remote,
            fd: None,
            local_isn: None,
            first_isn: None,
            remote_isn: peer_isn,
            script_local_isn: 0,
            script_remote_isn: 0,
            has_remote_isn: false,
            last_syn: None,
            timestamps: HashMap::new(),
            first_timestamp: None,
        }
    }

    /// Makes a line's numbers those on the wire.
    pub(super) fn on_wire(&mut self, line: &TcpLine, peer_isn: u32) -> TcpLine {
        let is_syn = line.has(flag::SYN);
        if is_syn && !self.has_remote_isn {
            self.has_remote_isn = true;
            self.script_remote_isn = line.seq;
            self.remote_isn = line.seq.wrapping_add(peer_isn);
        }
        let local = self.local_isn.unwrap_or(0);
        let (seq_base, ack_base) = if is_syn {
            (
                self.remote_isn.wrapping_sub(self.script_remote_isn),
                local.wrapping_sub(self.script_local_isn),
            )
        } else {
            (self.remote_isn, local)
        };
        let mut wire = line.clone();
        if !line.raw_seq {
            wire.seq = line.seq.wrapping_add(seq_base);
        }
        // An ACK without a number acknowledges 0.
        let ack = line.ack.or(line.has(flag::ACK).then_some(0));
        wire.ack = ack.map(|ack| ack.wrapping_add(ack_base));
        if is_syn {
            self.last_syn = Some((line.seq, wire.seq));
        }
        for option in wire.options.iter_mut().flatten() {
            match option {
                TcpOption::Sack(blocks) => {
                    for (left, right) in blocks {
                        *left = left.wrapping_add(local);
                        *right = right.wrapping_add(local);
                    }
                }
                TcpOption::Timestamps { ecr, .. } if line.has(flag::ACK) => {
                    *ecr = self.wire_timestamp(*ecr);
                }
                _ => {}
            }
        }
        wire
    }

    /// The timestamp of ours that a script's number stands for.
    fn wire_timestamp(&self, script: u32) -> u32 {
        if let Some(wire) = self.timestamps.get(&script) {
            return *wire;
        }
        match self.first_timestamp {
            Some((first, wire)) if script != 0 => wire.wrapping_add(script.wrapping_sub(first)),
            _ => script,
        }
    }

    /// Makes the numbers of a segment of ours those of the script; `wanted` is the line that asks
    /// for it.
    pub(super) fn in_script(&mut self, sent: &TcpLine, wanted: Option<&TcpLine>) -> TcpLine {
        if sent.has(flag::SYN) {
            self.learn(sent, wanted);
        }
        let is_syn = sent.has(flag::SYN);
        let local = self.local_isn.unwrap_or(0);
        let (seq_base, ack_base) = if is_syn {
            (
                local.wrapping_sub(self.script_local_isn),
                self.remote_isn.wrapping_sub(self.script_remote_isn),
            )
        } else {
            (local, self.remote_isn)
        };
        let mut line = sent.clone();
        if !wanted.is_some_and(|wanted| wanted.raw_seq) {
            line.seq = sent.seq.wrapping_sub(seq_base);
        }
        line.ack = sent.ack.map(|ack| ack.wrapping_sub(ack_base));
        for option in line.options.iter_mut().flatten() {
            if let TcpOption::Sack(blocks) = option {
                for (left, right) in blocks {
                    *left = left.wrapping_sub(self.remote_isn);
                    *right = right.wrapping_sub(self.remote_isn);
                }
            }
        }
        line
    }

    /// A SYN of ours: its number, and the peer's where a new connection took the place of an old.
    fn learn(&mut self, sent: &TcpLine, wanted: Option<&TcpLine>) {
        let is_new = self.local_isn != Some(sent.seq);
        if is_new {
            self.local_isn = Some(sent.seq);
            self.first_isn.get_or_insert(sent.seq);
            self.timestamps.clear();
            self.first_timestamp = None;
        }
        let Some(wanted) = wanted else {
            return;
        };
        if is_new || self.timestamps.is_empty() {
            self.script_local_isn = wanted.seq;
        }
        // A SYN,ACK with a new number answers the peer's last SYN, which need not be its first.
        if let Some((script, wire)) = self.last_syn.filter(|_| is_new && sent.has(flag::ACK)) {
            self.script_remote_isn = script;
            self.remote_isn = wire;
        }
    }

    /// Whether a timestamp of ours is known.
    pub(super) const fn has_timestamps(&self) -> bool {
        self.first_timestamp.is_some()
    }

    /// Remembers what a script's `TS val` was on the wire. With a tick, both must have moved on
    /// alike; the difference, in ticks, is the error.
    pub(super) fn learn_timestamp(&mut self, script: u32, wire: u32) -> i32 {
        let (first, first_wire) = *self.first_timestamp.get_or_insert((script, wire));
        self.timestamps.insert(script, wire);
        wire.wrapping_sub(first_wire)
            .wrapping_sub(script.wrapping_sub(first)) as i32
    }
}
