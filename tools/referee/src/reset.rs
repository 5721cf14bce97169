//! RST: whether it lies where its receiver expects it, and whether it was the end.

use std::time::Duration;

use crate::conversation::Conversation;
use crate::end::{End, Sight};
use crate::judge::{Faults, Seen};
use crate::packet::{ACK, SYN};
use crate::position::position;
use crate::rule::Rule;

/// Between seeing a RST go to a near end and the end's knowing of it.
const CROSSING: Duration = Duration::from_millis(50);

impl Conversation {
    /// `side` sends a RST.
    pub(crate) fn check_reset(&mut self, side: usize, seen: &Seen<'_>, faults: &mut Faults) {
        let tcp = seen.tcp;
        let reused = self.reused;
        let (end, peer) = self.pair(side);
        end.ack_due = None;
        if reused && peer.isn.is_none() {
            return; // it may answer a segment of the conversation before this
        }
        if let Some(isn) = peer.isn.filter(|_| tcp.has(ACK)) {
            let (ack, got) = (position(isn, peer.sent, tcp.ack), end.got.end());
            if ack > got {
                let what = format!("is a RST that acknowledges {ack}, only {got} arrived");
                faults.push(Rule::ResetMisplaced, what);
            }
        }
        let Some(isn) = end.isn else {
            // Without ACK it may answer what was still under way of the conversation before.
            if !reused || tcp.has(ACK) {
                end.check_answer(seen, faults);
            }
            return;
        };
        let seq = position(isn, end.sent, tcp.seq);
        if seq > end.sent && !reused {
            faults.push(
                Rule::ResetMisplaced,
                format!("is a RST at {seq}, only {} were sent", end.sent),
            );
        }
        if end.synchronized() && seq == end.sent {
            end.reset = Some(seen.now);
        }
    }

    /// After a RST, neither end of a conversation says anything but RST. What leaves at the same
    /// moment may have been ready before it was read.
    pub(crate) fn check_after_reset(&mut self, side: usize, seen: &Seen<'_>, faults: &mut Faults) {
        let end = &mut self.ends[side];
        let patience = match end.sight {
            Sight::Exact => Duration::ZERO,
            Sight::Near => CROSSING,
            Sight::Passing => return,
        };
        if let Some(since) = end.reset.filter(|_| !seen.tcp.has(SYN))
            && seen.now.saturating_sub(since) > patience
        {
            faults.push(
                Rule::AfterReset,
                format!("comes {:?} after a RST", seen.now.saturating_sub(since)),
            );
            end.reset = None;
        }
    }
}

impl End {
    /// RFC 9293 §3.10.7.1: how an end without a connection answers.
    fn check_answer(&self, seen: &Seen<'_>, faults: &mut Faults) {
        let tcp = seen.tcp;
        let expected = if tcp.has(ACK) {
            tcp.seq == 0
        } else {
            self.acks.contains(&tcp.seq)
        };
        if self.sight > Sight::Passing && !expected {
            let what = format!("is a RST at {} to what asked for another number", tcp.seq);
            faults.push(Rule::ResetMisplaced, what);
        }
    }

    /// A RST reaches this end, at `seq` of the peer's stream.
    pub(crate) fn on_reset(&mut self, seen: &Seen<'_>, seq: u64) {
        self.perhaps_reset |= self.got_fin == Some(seq) && self.got.contiguous() > seq;
        let opened = self.got.covers(0, 1);
        let expected = [&self.got, &self.taken].map(crate::ranges::Ranges::contiguous);
        if opened && expected == [seq; 2] && !self.is_over() {
            self.reset = Some(seen.now);
            self.ack_due = None;
        }
    }
}
