//! A segment arrives: RFC 9293 §3.10.7.4, step for step.

use crate::error::Dropped;
use crate::observe::AckWhy;
use crate::segment::{Ecn, Segment};
use crate::seq::SeqNum;
use crate::time::Instant;

use super::Connection;
use super::state::State;

impl Connection {
    /// RFC 9293 §3.10.7.4; security (third) asks nothing of us. `ecn` is what IP says of it.
    pub(crate) fn on_segment(
        &mut self,
        now: Instant,
        ecn: Ecn,
        seg: &mut Segment,
    ) -> Result<(), Dropped> {
        if self.state == State::Closed {
            return Err(Dropped::NoSocket); // only its RST is still to leave
        }
        self.stats.on_received(now, ecn, seg);
        if let Some(predicted) = self.predict(ecn, seg) {
            return self.on_predicted(now, seg, predicted);
        }
        self.check_syn(now, seg)?; // fourth, but whatever its number or timestamp (RFC 5961 §4.2)
        let seq = self.check_sequence(now, seg)?; // first: PAWS, then the window
        self.check_rst(now, seq, seg)?; // second
        let ack = self.check_ack(now, seg)?; // fifth
        self.on_sign_of_life(now);
        self.update_ts_recent(now, seq, seg);
        self.process_urgent(seq, seg); // sixth
        self.process_ecn(ecn, seg);
        let beyond = self.trim(seq, seg);
        self.process_ack(now, seq, ack, seg); // SND.UNA, SACK, RTT, loss, cwnd, SND.WND
        self.note_fin(seq, seg);
        self.process_text(now, seq, seg, seg.payload.clone()); // seventh: keeps the payload, moves RCV.NXT
        self.process_fin(now, seg); // eighth, once RCV.NXT has reached it
        if beyond {
            self.acks.owe(AckWhy::BeyondWindow); // a probe of a closed window, or too much for an open one
        }
        Ok(())
    }

    fn process_ack(&mut self, now: Instant, seq: SeqNum, ack: SeqNum, seg: &Segment) {
        if ack < self.snd.una {
            self.advance(now, ack, seg, false); // an old duplicate may still bring SACKs, and data
            return;
        }
        let window_changed = self.update_window(seq.max(self.rcv.nxt()), ack, seg);
        if !window_changed && self.is_no_news(ack, seg) {
            self.make_room(); // the first ACK of all is news to that
            #[cfg(debug_assertions)]
            self.check_no_news(now, ack, seg);
            return;
        }
        self.react_to_ece(now, ack, seg); // reduces what was in flight until now
        self.advance(now, ack, seg, window_changed);
    }

    /// SND.WND by SND.WL1 and SND.WL2 (SM-10); true when it changed.
    pub(super) fn update_window(&mut self, seq: SeqNum, ack: SeqNum, seg: &Segment) -> bool {
        let snd = &mut self.snd;
        // What moves SND.UNA is newest in any case: the edge counts from there.
        if !(snd.una < ack || snd.wl1 < seq || snd.wl1 == seq && snd.wl2 <= ack) {
            return false;
        }
        let before = snd.wnd;
        snd.wnd = seg.window.bytes(snd.scale);
        snd.max_wnd = snd.max_wnd.max(snd.wnd);
        (snd.wl1, snd.wl2) = (seq, ack);
        if before == 0 && snd.wnd > 0 {
            self.timers.stop_persist(); // what still waits starts anew
        }
        snd.wnd != before
    }
}
