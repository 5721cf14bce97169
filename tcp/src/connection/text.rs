//! What an acceptable segment brings: its text, its urgent pointer, its FIN, and the timestamp to
//! echo (RFC 9293 §3.10.7.4, sixth to eighth).

use bytes::Bytes;

use crate::observe::AckWhy;
use crate::segment::{Flags, Segment};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::Connection;
use super::state::{Edge, State};

impl Connection {
    /// TS.Recent follows segments that span Last.ACK.sent (RFC 7323 §4.3, TS-9).
    pub(super) fn update_ts_recent(&mut self, now: Instant, seq: SeqNum, seg: &Segment) {
        let last_ack_sent = self.acks.last_sent();
        if let Some(ts) = &mut self.timestamps
            && let Some(got) = seg.options.timestamps()
            && seq <= last_ack_sent
        {
            (ts.recent, ts.recent_at) = (got.tsval, now);
        }
    }

    /// RCV.UP (MUST-31, MUST-32): urgent data is read in line, the application told where it ends.
    /// A pointer to what was read already says nothing (MUST-33).
    pub(super) fn process_urgent(&mut self, seq: SeqNum, seg: &Segment) {
        if !seg.has(Flags::URG) || !self.state.receives() || self.orphan {
            return;
        }
        let pointer = seq + u32::from(seg.urgent);
        if self.rcv.on_urgent(pointer) {
            self.events.urgent = true;
        }
    }

    /// Cuts `seg` at the right edge of the window (SM-6); true when that cost bytes. What lies
    /// below RCV.NXT is left to the reassembler, which reports it.
    pub(super) fn trim(&self, seq: SeqNum, seg: &mut Segment) -> bool {
        let room = self.rcv.right() - seq;
        let beyond = seg.payload.len() as u32 > room;
        if beyond {
            seg.payload.truncate(room as usize);
            seg.flags = Flags(seg.flags.0 & !Flags::FIN.0);
        }
        beyond
    }

    /// Where the peer's FIN stands. Bytes above it that came before contradict it: what is above a
    /// gap is forgotten then, and has to come again.
    pub(super) fn note_fin(&mut self, seq: SeqNum, seg: &Segment) {
        if seg.has(Flags::FIN) && self.rcv.fin.is_none() && self.state.receives() {
            let fin = seq + seg.payload.len();
            if self.rcv.reassembler.end() > fin {
                self.rcv.reassembler.discard_out_of_order();
            }
            self.rcv.fin = Some(fin);
        }
    }

    /// Keeps the payload, moves RCV.NXT, and decides when that is acknowledged.
    /// `payload` is that of `seg`.
    pub(super) fn process_text(
        &mut self,
        now: Instant,
        seq: SeqNum,
        seg: &Segment,
        mut payload: Bytes,
    ) {
        if payload.is_empty() || !self.state.receives() {
            return;
        }
        if self.orphan {
            self.refuse_text(); // nobody will read it (RFC 9293 §3.6.1, SHLD-3)
            return;
        }
        if let Some(fin) = self.rcv.fin {
            payload.truncate((fin - seq) as usize); // nothing follows a FIN (SM-11)
        }
        if !self.has_memory_for(seq, payload.len()) {
            self.acks.owe_duplicate(self.sack); // the peer sends it again
            return;
        }
        let had_gap = self.rcv.reassembler.has_gap();
        let inserted = self.rcv.reassembler.insert(seq, payload);
        if let Some(duplicate) = inserted.duplicate
            && self.sack
        {
            self.rcv.dsack.push(duplicate);
        }
        if inserted.in_order == 0 {
            self.acks.on_segment_size(u32::from(seg.mss.get()));
            self.stats.on_out_of_order(seg);
            self.events.count().out_of_order += 1;
            self.events.pruned += self.rcv.prune();
            let (end, buffer) = (self.rcv.reassembler.end(), self.rcv.window.buffer());
            if let Some(larger) = self
                .tuning
                .on_gap(end - self.rcv.nxt(), buffer, self.snd.mss)
            {
                self.rcv.window.grow(larger);
            }
            self.acks.owe_duplicate(self.sack); // MAY-13, RFC 5681 §4.2
            return;
        }
        self.on_text_in_order(now, inserted.in_order, seg);
        if had_gap {
            self.acks.owe(AckWhy::GapFilled); // all or part (RFC 5681 §4.2)
        }
    }

    /// RCV.NXT has moved by `bytes`, which came in segments such as `seg`.
    pub(super) fn on_text_in_order(&mut self, now: Instant, bytes: u32, seg: &Segment) {
        self.bytes_received += u64::from(bytes);
        if self.options.quickack {
            self.acks.owe(AckWhy::Asked);
        }
        self.acks.on_data(now, bytes, u32::from(seg.mss.get()));
        self.sample_receive_rtt(now, seg);
        if self.read_blocked {
            self.read_blocked = false;
            self.events.readable = true;
        }
    }

    /// What receive autotuning calls a round trip.
    fn sample_receive_rtt(&mut self, now: Instant, seg: &Segment) {
        let (nxt, window) = (self.rcv.nxt(), self.rcv.window.right() - self.rcv.nxt());
        match (&self.timestamps, seg.options.timestamps()) {
            (Some(ours), Some(got)) if got.tsecr != 0 => {
                let elapsed = ours.tsval(now).wrapping_sub(got.tsecr);
                if elapsed < 60_000 {
                    self.tuning
                        .on_rtt(Duration::from_millis(u64::from(elapsed)));
                }
            }
            _ => self.tuning.on_data(now, nxt, window),
        }
    }

    /// FIN counts once RCV.NXT has reached it (SM-11).
    pub(super) fn process_fin(&mut self, now: Instant, seg: &Segment) {
        if self.state == State::Closed {
            return; // the text was too late, and answered with a RST
        }
        if self.rcv.fin_received || self.rcv.fin != Some(self.rcv.nxt()) {
            if seg.has(Flags::FIN) && seg.payload.is_empty() {
                self.acks.owe_duplicate(self.sack); // above a gap (MAY-13), or a second one
            } else if seg.has(Flags::FIN) {
                self.acks.owe(AckWhy::OutOfOrder);
            }
            return;
        }
        self.rcv.fin_received = true;
        // All that the peer sent is here: it has nothing left to learn from what came twice.
        self.rcv.dsack.clear();
        self.acks.owe(AckWhy::Fin);
        self.read_blocked = false;
        self.events.readable = true;
        self.on_edge(now, Edge::FinReceived);
    }
}
