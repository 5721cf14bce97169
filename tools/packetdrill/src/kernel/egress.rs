//! What leaves, as a packet socket on Linux sees it: wire packets, with PSH where a device with
//! TSO makes Linux set it.
//!
//! Linux hands such a device bursts of segments, sets PSH on each burst of two and more, and the
//! device leaves it on the burst's last segment. The mark at the end of what was written stays with
//! its byte: what is sent again has it again. Scripts recorded on Linux compare PSH, so the same
//! marks are made here, outside the stack.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ustack::batch::TxBatch;
use ustack::checksum::Sum;
use ustack::device::gso;
use ustack::tcp::time::Instant;

use super::packet::Tcp;

/// Packets sent and not taken; more are lost, as on a device with a full queue.
const MAX_SENT: usize = 65_536;

/// Flows and marks remembered; a script has a handful of either.
const MAX_FLOWS: usize = 4096;
const MAX_MARKS: usize = 65_536;

/// Segments of a burst: `tcp_min_tso_segs`, which Linux's pacing settles at on paths as slow as
/// those of scripts.
const BURST: u32 = 2;

const PSH: u8 = 0x08;

/// The device's sending side.
#[derive(Debug)]
pub(super) struct Egress {
    tso: bool,
    flows: HashMap<Vec<u8>, Flow>,
    /// Packets whose checksum would have made any receiver drop them: none, unless the stack is
    /// wrong.
    pub(super) bad_checksums: u64,
    turn: u64,
}

/// One direction of a connection.
#[derive(Debug, Default)]
struct Flow {
    /// After the last new byte sent.
    nxt: Option<u32>,
    /// The run of segments under way.
    run: Option<Run>,
    /// Ends of what was written, which left with PSH.
    marks: BTreeSet<u32>,
    /// Bursts that left: end and beginning.
    bursts: BTreeMap<u32, u32>,
}

/// Segments that left in one turn and follow each other.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u32,
    end: u32,
    /// Where its present burst began.
    burst: u32,
    segments: u32,
    /// The turn in which it left.
    turn: u64,
}

impl Flow {
    /// Whether this segment has PSH.
    fn is_marked(&mut self, turn: u64, seq: u32, len: u32, has_psh: bool) -> bool {
        let end = seq.wrapping_add(len);
        let is_after = |end: u32, other: u32| (end.wrapping_sub(other) as i32) > 0;
        let is_new = self.nxt.is_none_or(|nxt| is_after(end, nxt));
        let run = self.run.filter(|run| run.end == seq && run.turn == turn);
        let mut run = run.unwrap_or(Run {
            start: seq,
            end: seq,
            burst: seq,
            segments: 0,
            turn,
        });
        (run.end, run.segments) = (end, run.segments + 1);
        let mut marked = has_psh || self.marks.contains(&end);
        if marked {
            remember(self.marks.len(), || self.marks.insert(end));
        }
        if is_new {
            self.nxt = Some(end);
            marked |= run.segments >= BURST;
            if run.segments > 1 {
                remember(self.bursts.len(), || {
                    self.bursts.insert(end, run.burst).is_none()
                });
            }
        } else if let Some(&start) = self.bursts.get(&end) {
            // A whole burst goes out again as one.
            marked |= !is_after(run.start, start);
        }
        if marked {
            (run.burst, run.segments) = (end, 0);
        }
        self.run = Some(run);
        marked
    }
}

/// Remembers one thing more, if there is room.
fn remember(len: usize, insert: impl FnOnce() -> bool) {
    if len < MAX_MARKS {
        insert();
    }
}

impl Egress {
    pub(super) fn new(tso: bool) -> Self {
        Self {
            tso,
            flows: HashMap::new(),
            bad_checksums: 0,
            turn: 0,
        }
    }

    /// Something else happened: what leaves from now on is another burst.
    pub(super) fn begin_turn(&mut self) {
        self.turn += 1;
    }

    /// Moves the frames of `tx` to `sent`.
    pub(super) fn take(
        &mut self,
        now: Instant,
        tx: &mut TxBatch,
        sent: &mut VecDeque<(Instant, Vec<u8>)>,
    ) {
        let mut packets = Vec::new();
        for frame in tx.iter() {
            // What does not fit its own description is a bug that shows as a missing packet.
            let _ = gso::cut(&frame.to_frame(), |packet| packets.push(packet));
        }
        tx.clear();
        for mut packet in packets {
            if let Some(tcp) = Tcp::find(&packet) {
                if tcp.checksum(&packet) != 0 {
                    self.bad_checksums += 1;
                    continue;
                }
                if self.tso {
                    self.mark(&mut packet, &tcp);
                }
            }
            if sent.len() < MAX_SENT {
                sent.push_back((now, packet));
            }
        }
    }

    fn mark(&mut self, packet: &mut [u8], tcp: &Tcp) {
        if tcp.payload_len == 0 {
            return;
        }
        let key = tcp.flow(packet);
        if self.flows.len() >= MAX_FLOWS && !self.flows.contains_key(&key) {
            return;
        }
        let turn = self.turn;
        let flow = self.flows.entry(key).or_default();
        let (seq, flags) = (tcp.seq(packet), tcp.flags(packet));
        if flow.is_marked(turn, seq, tcp.payload_len, flags & PSH != 0) && flags & PSH == 0 {
            tcp.set_flags(packet, flags | PSH);
        }
    }
}

impl Tcp {
    /// Writes the flags, and mends the checksum.
    fn set_flags(&self, packet: &mut [u8], flags: u8) {
        packet[self.header + 13] = flags;
        packet[self.header + 16..self.header + 18].fill(0);
        let checksum = self.checksum(packet).to_be_bytes();
        packet[self.header + 16..self.header + 18].copy_from_slice(&checksum);
    }

    /// The checksum over the segment as it stands: 0 when the field is right.
    fn checksum(&self, packet: &[u8]) -> u16 {
        let len = packet.len() - self.header;
        let mut sum = Sum::pseudo_header(self.source, self.destination, 6, len as u32);
        sum.add(&packet[self.header..]);
        sum.checksum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_segment_of_a_turn_has_psh() {
        let mut flow = Flow::default();
        let marks: Vec<bool> = (0..5)
            .map(|n| flow.is_marked(1, n * 1000, 1000, n == 4))
            .collect();
        assert_eq!(marks, [false, true, false, true, true]);
        // Sent again one by one, only the end of what was written has it; a whole burst has it.
        let again: Vec<bool> = [1, 0, 3, 4, 2, 3]
            .into_iter()
            .map(|n| flow.is_marked(1, n * 1000, 1000, false))
            .collect();
        assert_eq!(again, [false, false, false, true, false, true]);
        // A later turn is another burst.
        assert!(!flow.is_marked(1, 5000, 1000, false));
        assert!(!flow.is_marked(2, 6000, 1000, false));
        assert!(flow.is_marked(2, 7000, 1000, false));
    }
}
