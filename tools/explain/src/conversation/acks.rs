//! What a segment says of the other end's bytes.

use referee::packet::{FIN, SYN};

use super::{Conversation, Seen};
use crate::growth::Stop;

impl Conversation {
    pub(super) fn on_ack(&mut self, seen: &Seen<'_>, ack: u64) {
        let (now, tcp, side) = (seen.now, seen.tcp, seen.side);
        let peer = 1 - side;
        let mss = self.mss(peer);
        let was = &self.sides[peer].flight;
        let (una, size, window) = (was.una, was.size(), self.sides[side].window.last);
        if ack < una.saturating_sub(1 << 30) || ack > was.nxt + (1 << 30) {
            return; // of another conversation of these ports
        }
        self.sacked(seen, ack);
        let echo = tcp.options.timestamps.map(|(_, tsecr)| tsecr);
        let acked = self.sides[peer].flight.acknowledge(now, ack);
        if acked.bytes > 0 {
            self.advanced(seen, ack, &acked);
        } else if ack == una && size > 0 && tcp.seq_len() == 0 {
            let is_same = self.announced(seen) == window;
            self.duplicate(seen, ack, is_same);
        }
        self.sides[peer]
            .repeats
            .on_ack(now, ack, acked.bytes > 0, echo);
        if ack >= una {
            let size = self.announced(seen);
            self.sides[side].window.announce(now, ack, size, mss);
            if self.sides[peer].flight.size() == 0 {
                self.sides[side].window.on_flight_empty();
            }
        }
        if tcp.has(referee::packet::ECE) && !tcp.has(SYN) {
            self.sides[peer].growth.stop(now, Stop::Mark);
        }
        self.sides[peer].unanswered = 0;
        if !tcp.payload.is_empty() {
            self.sides[peer].waits.on_answer();
        }
    }

    /// The window that a segment announces, in bytes.
    fn announced(&self, seen: &Seen<'_>) -> u64 {
        let scale = |side: usize| {
            let offer = self.sides[side].offer.as_ref();
            offer.and_then(|offer| offer.window_scale)
        };
        let scale = match (scale(seen.side), scale(1 - seen.side)) {
            (Some(scale), Some(_)) if !seen.tcp.has(SYN) => scale.min(14),
            _ => 0,
        };
        u64::from(seen.tcp.window) << scale
    }

    fn sacked(&mut self, seen: &Seen<'_>, ack: u64) {
        let peer = &mut self.sides[1 - seen.side];
        let (isn, nxt) = (peer.isn.unwrap_or_default(), peer.flight.nxt);
        let at = |wire| referee::position(isn, nxt, wire);
        let blocks = seen.tcp.options.sack.iter();
        let blocks: Vec<_> = blocks.map(|&(left, right)| (at(left), at(right))).collect();
        for (index, &(left, right)) in blocks.iter().enumerate() {
            if left >= right {
                continue;
            }
            // RFC 2883 §4: the first block may say what came twice.
            let inside = |&(from, to): &(u64, u64)| from <= left && right <= to;
            if index == 0 && (right <= ack || blocks.get(1).is_some_and(inside)) {
                peer.repeats.on_duplicate(seen.now, left, right);
                continue;
            }
            let arrived = peer.flight.sack(seen.now, left, right);
            peer.arrived_wire = peer.arrived_wire.max(arrived.wire);
        }
    }

    /// Something new is acknowledged.
    fn advanced(&mut self, seen: &Seen<'_>, ack: u64, acked: &crate::flight::Acked) {
        let (now, tcp, side) = (seen.now, seen.tcp, seen.side);
        if side == 0 && self.established.is_none() && !tcp.has(SYN) {
            self.established = Some(now);
        }
        let least = self.sides[side].answers.least();
        if let Some(after) = acked.after {
            self.sides[side].answers.add(after);
        }
        self.sides[side].last_advance = Some(now);
        let mss = self.mss(1 - side);
        let answered_in = self.sides[side].answers.count > 1;
        let peer = &mut self.sides[1 - side];
        peer.dup_acks = 0;
        peer.arrived_wire = peer.arrived_wire.max(acked.wire);
        peer.growth.on_acknowledged();
        if let Some(shrunk) = peer.shrunk.as_mut().filter(|shrunk| ack >= shrunk.end) {
            shrunk.arrived = true;
        }
        let is_bare = tcp.payload.is_empty() && !tcp.has(SYN | FIN);
        let is_small = !acked.bytes.is_multiple_of(mss);
        if let Some(after) = acked.after
            && is_bare
            && is_small
            && answered_in
            && peer.flight.size() == 0
            && ack > 1
        {
            peer.waits.on_ack(now, after, least);
        }
    }

    /// An acknowledgment that says nothing new.
    fn duplicate(&mut self, seen: &Seen<'_>, ack: u64, is_same: bool) {
        let peer = &mut self.sides[1 - seen.side];
        let tells = !seen.tcp.options.sack.is_empty();
        if !is_same || tells {
            return;
        }
        peer.dup_acks += 1;
        // RFC 5681 §3.2: the third says that something is missing.
        if peer.dup_acks == 3 {
            peer.flight.signal(seen.now, ack + 1);
        }
    }
}
