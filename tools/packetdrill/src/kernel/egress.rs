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

const PSH: u8 = 0x08;

/// The device's sending side.
#[derive(Debug)]
pub(super) struct Egress {
    tso: bool,
    flows: HashMap<Vec<u8>, Flow>,
    /// What this turn has sent so far.
    pending: Vec<Vec<u8>>,
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

/// A segment with text.
#[derive(Clone, Copy, Debug)]
struct Sent {
    turn: u64,
    seq: u32,
    len: u32,
    has_psh: bool,
    /// The next one follows at once.
    continues: bool,
    /// Segments that leave as one.
    burst: u32,
}

impl Flow {
    /// Whether this segment has PSH.
    fn is_marked(&mut self, sent: &Sent) -> bool {
        let end = sent.seq.wrapping_add(sent.len);
        let is_after = |end: u32, other: u32| (end.wrapping_sub(other) as i32) > 0;
        let is_new = self.nxt.is_none_or(|nxt| is_after(end, nxt));
        let run = self
            .run
            .filter(|run| run.end == sent.seq && run.turn == sent.turn);
        let mut run = run.unwrap_or(Run {
            start: sent.seq,
            end: sent.seq,
            burst: sent.seq,
            segments: 0,
            turn: sent.turn,
        });
        (run.end, run.segments) = (end, run.segments + 1);
        let mut marked = sent.has_psh || self.marks.contains(&end);
        if marked {
            remember(self.marks.len(), || self.marks.insert(end));
        }
        let is_full = run.segments >= sent.burst;
        if is_new {
            self.nxt = Some(end);
            marked |= run.segments > 1 && (is_full || !sent.continues);
            if run.segments > 1 {
                remember(self.bursts.len(), || {
                    self.bursts.insert(end, run.burst).is_none()
                });
            }
        } else if let Some(&start) = self.bursts.get(&end) {
            // A whole burst goes out again as one.
            marked |= !is_after(run.start, start);
        }
        if marked || is_full {
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
            pending: Vec::new(),
            bad_checksums: 0,
            turn: 0,
        }
    }

    /// Something else happened: what leaves from now on is another burst.
    pub(super) fn begin_turn(&mut self) {
        self.turn += 1;
    }

    /// Takes the frames of `tx`, cut into wire packets.
    pub(super) fn take(&mut self, tx: &mut TxBatch) {
        for frame in tx.iter() {
            // What does not fit its own description is a bug that shows as a missing packet.
            let _ = gso::cut(&frame.to_frame(), |packet| self.pending.push(packet));
        }
        tx.clear();
    }

    /// The turn is over: what it has sent leaves. `burst` tells how many segments of a flow leave
    /// as one.
    pub(super) fn flush(
        &mut self,
        now: Instant,
        sent: &mut VecDeque<(Instant, Vec<u8>)>,
        burst: impl Fn(&Tcp, &[u8]) -> u32,
    ) {
        let mut packets = std::mem::take(&mut self.pending);
        if self.tso {
            for (n, continues) in continuations(&packets).into_iter().enumerate() {
                self.mark(&mut packets[n], continues, &burst);
            }
        }
        for packet in packets.drain(..) {
            if Tcp::find(&packet).is_some_and(|tcp| tcp.checksum(&packet) != 0) {
                self.bad_checksums += 1;
            } else if sent.len() < MAX_SENT {
                sent.push_back((now, packet));
            }
        }
        self.pending = packets;
    }

    fn mark(&mut self, packet: &mut [u8], continues: bool, burst: impl Fn(&Tcp, &[u8]) -> u32) {
        let Some(tcp) = Tcp::find(packet).filter(|tcp| tcp.payload_len > 0) else {
            return;
        };
        let key = tcp.flow(packet);
        if self.flows.len() >= MAX_FLOWS && !self.flows.contains_key(&key) {
            return;
        }
        let segment = Sent {
            turn: self.turn,
            seq: tcp.seq(packet),
            len: tcp.payload_len,
            has_psh: tcp.flags(packet) & PSH != 0,
            continues,
            burst: burst(&tcp, packet),
        };
        let flow = self.flows.entry(key).or_default();
        if flow.is_marked(&segment) && !segment.has_psh {
            tcp.set_flags(packet, tcp.flags(packet) | PSH);
        }
    }
}

/// Whether, after each packet, the next one of its flow goes on where it ends.
fn continuations(packets: &[Vec<u8>]) -> Vec<bool> {
    let mut next = HashMap::new();
    let mut continues: Vec<bool> = packets
        .iter()
        .rev()
        .map(|packet| {
            let Some(tcp) = Tcp::find(packet).filter(|tcp| tcp.payload_len > 0) else {
                return false;
            };
            let seq = tcp.seq(packet);
            let after = next.insert(tcp.flow(packet), seq);
            after == Some(seq.wrapping_add(tcp.payload_len))
        })
        .collect();
    continues.reverse();
    continues
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

    /// Which of so many segments of 1,000 bytes, from `first` on, are marked.
    fn marks(flow: &mut Flow, turn: u64, first: u32, count: u32, burst: u32) -> Vec<bool> {
        let sent = |n: u32| Sent {
            turn,
            seq: (first + n) * 1000,
            len: 1000,
            has_psh: false,
            continues: n + 1 < count,
            burst,
        };
        (0..count).map(|n| flow.is_marked(&sent(n))).collect()
    }

    #[test]
    fn every_burst_of_a_turn_ends_with_psh() {
        let mut flow = Flow::default();
        assert_eq!(
            marks(&mut flow, 1, 0, 5, 2),
            [false, true, false, true, false]
        );
        // Sent again one by one, none has it; a whole burst has.
        assert_eq!(marks(&mut flow, 2, 1, 1, 2), [false]);
        assert_eq!(marks(&mut flow, 3, 2, 2, 2), [false, true]);
        // Larger bursts: the last may be smaller; a single segment is none.
        assert_eq!(
            marks(&mut flow, 4, 5, 5, 3),
            [false, false, true, false, true]
        );
        assert_eq!(marks(&mut flow, 5, 10, 2, 1), [false, false]);
        assert_eq!(marks(&mut flow, 6, 12, 1, 3), [false]);
    }
}
