//! A segment arrives: RFC 9293 §3.10.7.4, step for step.

use crate::error::{CloseReason, Dropped};
use crate::segment::{Flags, Segment};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::Connection;
use super::state::{Edge, State};

/// A timestamp this old proves nothing any more (RFC 7323 §5.5).
const TS_RECENT_LIFE: Duration = Duration::from_hours(24 * 24);

impl Connection {
    /// RFC 9293 §3.10.7.4; security (third) and URG (sixth) ask nothing of us.
    pub(crate) fn on_segment(&mut self, now: Instant, mut seg: Segment) -> Result<(), Dropped> {
        if self.state == State::Closed {
            return Err(Dropped::NoSocket); // only its RST is still to leave
        }
        self.check_syn(now, &seg)?; // fourth, but whatever its number or timestamp (RFC 5961 §4.2)
        let seq = self.check_sequence(now, &mut seg)?; // first: PAWS, then trim `seg` to the window
        self.check_rst(now, seq, &seg)?; // second
        self.process_ack(now, seq, &seg)?; // fifth: SND.UNA, SACK, RTT, loss, cwnd, SND.WND
        self.on_sign_of_life(now);
        self.process_text(now, seq, &seg); // seventh: keeps the payload, moves RCV.NXT
        self.process_fin(now, seq, &seg); // eighth, once RCV.NXT has reached it
        Ok(())
    }

    /// PAWS and the acceptability test; cuts off what lies outside the window and returns
    /// SEG.SEQ of what is left.
    fn check_sequence(&mut self, now: Instant, seg: &mut Segment) -> Result<SeqNum, Dropped> {
        let nxt = self.rcv.nxt();
        let seq = nxt.expand(seg.seq);
        self.check_timestamps(now, seg)?;
        let end = seq + seg.len();
        let right = self.rcv.window.right().max(nxt);
        let acceptable = if seg.is_empty() {
            nxt <= seq && (seq < right || seq == nxt)
        } else {
            end > nxt && (seq < right || seq == nxt)
        };
        if !acceptable {
            if seg.has(Flags::RST) {
                return Err(Dropped::BadReset);
            }
            if seg.payload.is_empty() && !seg.has(Flags::FIN) {
                self.acks.owe_out_of_window(now);
            } else {
                if seg.has(Flags::FIN) && end == nxt && self.state == State::TimeWait {
                    self.enter_time_wait(now); // SM-15
                }
                // What the peer sent again, or beyond: it missed our ACK.
                self.rcv.dsack = (end <= nxt && self.sack).then_some(seq..end);
                self.acks.owe();
            }
            return Err(Dropped::OutOfWindow);
        }
        self.update_ts_recent(now, seq, seg);
        Ok(self.trim(seq, right, seg))
    }

    /// RFC 7323 §5.3 (PAWS) and §3.2 (TS-8). RST is exempt (TS-12).
    fn check_timestamps(&mut self, now: Instant, seg: &Segment) -> Result<(), Dropped> {
        let Some(ts) = &self.timestamps else {
            return Ok(());
        };
        if seg.has(Flags::RST) {
            return Ok(());
        }
        let Some(got) = seg.options.timestamps() else {
            return Err(Dropped::NoTimestamp);
        };
        let behind = (got.tsval.wrapping_sub(ts.recent) as i32) < 0;
        if behind && now - ts.recent_at < TS_RECENT_LIFE {
            if seg.payload.is_empty() {
                self.acks.owe_out_of_window(now);
            } else {
                self.acks.owe();
            }
            return Err(Dropped::StaleTimestamp);
        }
        Ok(())
    }

    /// TS.Recent follows segments that span Last.ACK.sent (RFC 7323 §4.3, TS-9).
    fn update_ts_recent(&mut self, now: Instant, seq: SeqNum, seg: &Segment) {
        let last_ack_sent = self.acks.last_sent();
        if let Some(ts) = &mut self.timestamps
            && let Some(got) = seg.options.timestamps()
            && !seg.has(Flags::RST)
            && seq <= last_ack_sent
        {
            (ts.recent, ts.recent_at) = (got.tsval, now);
        }
    }

    /// Cuts `seg` to RCV.NXT..`right` and returns where it starts now (SM-6).
    fn trim(&mut self, seq: SeqNum, right: SeqNum, seg: &mut Segment) -> SeqNum {
        let nxt = self.rcv.nxt();
        let mut seq = seq;
        if seq < nxt {
            let front = (nxt - seq).min(seg.payload.len() as u32);
            if front > 0 && self.sack {
                self.rcv.dsack = Some(seq..seq + front);
            }
            let _ = seg.payload.split_to(front as usize);
            seq += front;
        }
        let room = right - seq;
        if seg.payload.len() as u32 > room {
            seg.payload.truncate(room as usize);
            seg.flags = Flags(seg.flags.0 & !Flags::FIN.0);
            self.acks.owe();
        }
        seq
    }

    /// RFC 5961 §3.2: only RCV.NXT itself resets, the rest of the window is challenged.
    fn check_rst(&mut self, now: Instant, seq: SeqNum, seg: &Segment) -> Result<(), Dropped> {
        if !seg.has(Flags::RST) {
            return Ok(());
        }
        if seq != self.rcv.nxt() {
            self.acks.owe_challenge(now);
            return Err(Dropped::BlindReset);
        }
        if self.state == State::TimeWait {
            return Err(Dropped::BadReset); // RFC 1337: TIME-WAIT is not assassinated
        }
        let finished = matches!(self.state, State::Closing | State::LastAck);
        self.close(if finished {
            CloseReason::Finished
        } else {
            CloseReason::Reset
        });
        Err(Dropped::Reset)
    }

    /// RFC 5961 §4.2.
    fn check_syn(&mut self, now: Instant, seg: &Segment) -> Result<(), Dropped> {
        if !seg.has(Flags::SYN) || seg.has(Flags::RST) {
            return Ok(());
        }
        self.acks.owe_challenge(now);
        Err(Dropped::BlindSyn)
    }

    fn process_ack(&mut self, now: Instant, seq: SeqNum, seg: &Segment) -> Result<(), Dropped> {
        if !seg.has(Flags::ACK) {
            return Err(Dropped::NoAck);
        }
        let ack = self.snd.una.expand(seg.ack);
        if ack > self.snd.nxt {
            self.acks.owe_challenge(now);
            return Err(Dropped::BadAck);
        }
        if ack < self.snd.una.saturating_sub(u64::from(self.snd.max_wnd)) {
            self.acks.owe_challenge(now); // RFC 5961 §5.2
            return Err(Dropped::BadAck);
        }
        if ack < self.snd.una {
            return Ok(()); // an old duplicate may still bring data
        }
        let window_changed = self.update_window(seq, ack, seg);
        self.advance(now, ack, seg, window_changed);
        Ok(())
    }

    /// SND.WND by SND.WL1 and SND.WL2 (SM-10); true when it changed.
    fn update_window(&mut self, seq: SeqNum, ack: SeqNum, seg: &Segment) -> bool {
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

    fn process_text(&mut self, now: Instant, seq: SeqNum, seg: &Segment) {
        if seg.payload.is_empty() || !self.state.receives() {
            return;
        }
        if self.orphan {
            self.abort(); // nobody will read it (RFC 9293 §3.6.1, SHLD-3)
            return;
        }
        let mut payload = seg.payload.clone();
        if let Some(fin) = self.rcv.fin {
            payload.truncate((fin - seq) as usize); // nothing follows a FIN (SM-11)
        }
        if payload.is_empty() || self.rcv.window.right() <= seq {
            self.acks.owe(); // a probe of a closed window
            return;
        }
        let had_gap = self.rcv.reassembler.has_gap();
        let inserted = self.rcv.reassembler.insert(seq, payload);
        self.bytes_received += u64::from(inserted.in_order);
        if let Some(duplicate) = inserted.duplicate
            && self.sack
        {
            self.rcv.dsack = Some(duplicate);
        }
        if inserted.in_order == 0 {
            self.acks.owe_duplicate(self.sack); // MAY-13, RFC 5681 §4.2
            return;
        }
        if had_gap {
            self.acks.owe(); // fills a gap, all or part (RFC 5681 §4.2)
        }
        self.acks
            .on_data(now, inserted.in_order, u32::from(seg.mss.get()));
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

    fn process_fin(&mut self, now: Instant, seq: SeqNum, seg: &Segment) {
        if self.state == State::Closed {
            return; // the text was too late, and answered with a RST
        }
        if seg.has(Flags::FIN) && self.rcv.fin.is_none() && self.state.receives() {
            self.rcv.fin = Some(seq + seg.payload.len());
        }
        if self.rcv.fin_received || self.rcv.fin != Some(self.rcv.nxt()) {
            if seg.has(Flags::FIN) && seg.payload.is_empty() && !self.rcv.fin_received {
                self.acks.owe_duplicate(self.sack); // above a gap (MAY-13)
            }
            return;
        }
        self.rcv.fin_received = true;
        self.acks.owe();
        self.read_blocked = false;
        self.events.readable = true;
        self.on_edge(now, Edge::FinReceived);
    }
}
