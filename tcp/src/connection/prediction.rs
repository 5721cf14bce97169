//! Header prediction (Van Jacobson): nearly every segment brings the next bytes in order, or
//! acknowledges some of ours that nobody has missed, and says nothing else. What `input` would ask
//! of it has been answered then.

use crate::error::Dropped;
use crate::followers::Followers;
use crate::segment::{Ecn, Flags, Options, Segment};
use crate::send::Fin;
use crate::seq::SeqNum;
use crate::time::Instant;

use super::Connection;
use super::state::State;

/// What a segment as expected brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Predicted {
    /// The next bytes in order, or none, and no news for the sender.
    Text,
    /// An acknowledgment of bytes that were sent once.
    Ack(SeqNum),
}

impl Connection {
    /// What `seg` is if it stands at RCV.NXT without a mark or a SACK block, and nothing is missing
    /// on either side.
    pub(super) fn predict(&self, ecn: Ecn, seg: &Segment) -> Option<Predicted> {
        let (snd, rcv) = (&self.snd, &self.rcv);
        let nxt = rcv.reassembler.nxt();
        let is_plain = Flags(seg.flags.0 & !Flags::PSH.0) == Flags::ACK
            && ecn != Ecn::Ce
            && matches!(&seg.options, Options::Segment(options) if options.sack.is_empty());
        let is_next = seg.seq == nxt.wire()
            && seg.payload.len() as u32 <= rcv.window.right() - nxt
            && !rcv.reassembler.has_gap()
            && rcv.fin.is_none();
        let is_open = self.state == State::Established && !self.orphan;
        if !(is_plain && is_next && is_open && self.is_calm() && snd.flight.sampler().is_none()) {
            return None;
        }
        let ack = snd.una.expand(seg.ack);
        if ack == snd.una {
            let is_duplicate = seg.payload.is_empty() && snd.flight.outstanding() > 0;
            let is_known = seg.window.bytes(snd.scale) == snd.wnd && !is_duplicate;
            return is_known.then_some(Predicted::Text);
        }
        let is_ack = seg.payload.is_empty()
            && (snd.una < ack && ack <= snd.nxt)
            && snd.fin != Fin::Sent
            && snd.flight.is_first_try(snd.una)
            && !self.recovery.is_in_doubt();
        is_ack.then_some(Predicted::Ack(ack))
    }

    /// Whether the sender learns nothing from an acknowledgment, of a segment that came for another
    /// reason: all that it has was acknowledged before. Nothing is in flight then that could be
    /// missing, and nothing waits for a timer.
    pub(super) fn is_no_news(&self, ack: SeqNum, seg: &Segment) -> bool {
        let snd = &self.snd;
        let says_nothing = !seg.has(Flags::ECE)
            && matches!(&seg.options, Options::Segment(options) if options.sack.is_empty());
        let has_nothing = ack == snd.una && snd.una == snd.end() && snd.flight.sampler().is_none();
        says_nothing && has_nothing && self.is_calm() && !self.recovery.is_in_doubt()
    }

    /// That [`Connection::advance`] changes nothing then which anything comes of: that a round of
    /// D-SACKs is over may be noted later (RFC 8985 §6.2), before the next one is looked at.
    #[cfg(debug_assertions)]
    pub(super) fn check_no_news(&mut self, now: Instant, ack: SeqNum, seg: &Segment) {
        let sender = |conn: &Self| {
            let (snd, room) = (&conn.snd, conn.cwnd_room());
            let flight = (snd.una, snd.flight.outstanding(), snd.flight.in_flight());
            let recovery = (conn.recovery.rest(snd.una), conn.recovery.is_in_doubt());
            let rest = (&conn.rtt, &conn.timers, &conn.ecn, conn.is_calm());
            alloc::format!("{flight:?} {} {room} {recovery:?} {rest:?}", snd.capacity)
        };
        let before = sender(self);
        self.advance(now, ack, seg, false);
        assert_eq!(before, sender(self), "an ACK that is no news");
    }

    /// Whether nothing is being repaired or probed.
    pub(super) fn is_calm(&self) -> bool {
        self.snd.flight.is_undisturbed() && self.recovery.is_calm()
    }

    /// RFC 9293 §3.10.7.4 for such a segment: what is left of it.
    pub(super) fn on_predicted(
        &mut self,
        now: Instant,
        seg: &mut Segment,
        predicted: Predicted,
    ) -> Result<(), Dropped> {
        let seq = self.rcv.reassembler.nxt();
        self.check_timestamps(now, seg)?;
        self.on_sign_of_life(now);
        self.update_ts_recent(now, seq, seg);
        match predicted {
            Predicted::Text => {
                (self.snd.wl1, self.snd.wl2) = (seq, self.snd.una);
                self.append_text(now, seq, seg);
            }
            Predicted::Ack(ack) => {
                self.update_window(seq, ack, seg);
                self.advance_plainly(now, ack, seg);
            }
        }
        Ok(())
    }

    /// [`Connection::process_text`] without what gaps, FIN and orphans bring.
    fn append_text(&mut self, now: Instant, seq: SeqNum, seg: &mut Segment) {
        let text = core::mem::take(&mut seg.payload);
        if text.is_empty() {
            return;
        }
        if !self.has_memory_for(seq, text.len()) {
            self.acks.owe_duplicate(self.sack); // the peer sends it again
            return;
        }
        let bytes = text.len() as u32;
        self.rcv.reassembler.append([text]);
        self.on_text_in_order(now, bytes, seg);
    }

    /// `seg` and all that follow it, if every one is as expected: the next bytes in order, and
    /// there is room for them. Else nothing has happened.
    pub(crate) fn on_train(
        &mut self,
        now: Instant,
        ecn: Ecn,
        mut seg: Segment,
        followers: &mut Followers,
    ) -> Result<(), Segment> {
        let seq = self.rcv.reassembler.nxt();
        let bytes = seg.payload.len() as u32 + followers.text_len();
        let is_expected = self.predict(ecn, &seg) == Some(Predicted::Text)
            && bytes <= self.rcv.window.right() - seq
            && !self.is_refused_by_timestamps(now, &seg)
            && self.has_memory_for_all(1 + followers.len(), seg.payload.len());
        if !is_expected {
            return Err(seg);
        }
        self.stats
            .on_train_received(now, ecn, 1 + followers.len() as u64);
        self.on_sign_of_life(now);
        self.update_ts_recent(now, seq, &seg);
        (self.snd.wl1, self.snd.wl2) = (seq, self.snd.una);
        let first = core::mem::take(&mut seg.payload);
        self.rcv.reassembler.append([first]);
        self.rcv.reassembler.append(followers.texts());
        self.on_text_in_order(now, bytes, &seg);
        Ok(())
    }

    /// [`Connection::advance`] without what losses and SACK blocks bring.
    fn advance_plainly(&mut self, now: Instant, ack: SeqNum, seg: &Segment) {
        let in_flight = self.snd.flight.in_flight();
        let outcome = self.snd.flight.on_plain_ack(now, ack);
        let rtt = outcome.rtt_sample(true);
        if let Some(rtt) = rtt {
            self.rtt.on_sample(now, rtt);
        }
        self.bytes_acked += u64::from(ack - self.snd.una);
        self.snd.una = ack;
        self.snd.buffer.advance(ack);
        self.stats.on_delivered(&outcome, self.snd.mss, seg);
        self.recovery
            .on_plain_ack(&outcome, self.snd.mss, self.sack);
        self.grow_window(now, &outcome, in_flight, false, rtt);
        self.make_room();
        self.confirm_path(now);
        self.on_una_moved(now);
        self.update_loss_timer(now, true);
    }
}
