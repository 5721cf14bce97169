//! What may refuse a segment: RFC 9293 §3.10.7.4 up to the ACK field, RFC 5961, and PAWS.

use crate::error::{CloseReason, Dropped};
use crate::observe::AckWhy;
use crate::segment::{Flags, Segment, Timestamps};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::state::State;
use super::{Connection, TimestampState};

/// A timestamp this old proves nothing any more (RFC 7323 §5.5, TS-13).
const TS_RECENT_LIFE: Duration = Duration::from_hours(24 * 24);

impl TimestampState {
    /// RFC 7323 §5.3 (PAWS): whether `got` is older than what came before.
    fn is_stale(&self, now: Instant, got: Timestamps) -> bool {
        let behind = (got.tsval.wrapping_sub(self.recent) as i32) < 0;
        behind && now - self.recent_at < TS_RECENT_LIFE
    }
}

impl Connection {
    /// RFC 5961 §4.2 (BL-4): any SYN, wherever it lies, is challenged.
    pub(super) fn check_syn(&mut self, now: Instant, seg: &Segment) -> Result<(), Dropped> {
        if !seg.has(Flags::SYN) || seg.has(Flags::RST) {
            return Ok(());
        }
        self.acks.owe_challenge(now);
        Err(Dropped::BlindSyn)
    }

    /// PAWS and the acceptability test; returns SEG.SEQ.
    pub(super) fn check_sequence(
        &mut self,
        now: Instant,
        seg: &Segment,
    ) -> Result<SeqNum, Dropped> {
        let seq = self.rcv.nxt().expand(seg.seq);
        self.check_timestamps(now, seg)?;
        if self.rcv.accepts(seq, seg.len()) {
            return Ok(seq);
        }
        if seg.has(Flags::RST) {
            return Err(Dropped::BadReset);
        }
        if seg.is_empty() {
            self.acks.owe_out_of_window(now);
            if seq == self.rcv.right() {
                // The peer has filled the window and we hold less than that: not acceptable by
                // the table, but it is where all its ACKs stand (RFC 9293 appendix A.2).
                return Ok(seq);
            }
            return Err(Dropped::OutOfWindow);
        }
        let end = seq + seg.len();
        if seg.has(Flags::FIN) && end == self.rcv.nxt() && self.state == State::TimeWait {
            self.enter_time_wait(now); // SM-15
        }
        if end <= self.rcv.nxt() && self.sack {
            self.rcv.dsack.push(seq..end); // it missed our ACK (RFC 2883 §4.1)
        }
        self.acks.owe(AckWhy::OutOfWindow);
        Err(Dropped::OutOfWindow)
    }

    /// Whether [`Connection::check_timestamps`] would refuse `seg`, which has text.
    pub(super) fn is_refused_by_timestamps(&self, now: Instant, seg: &Segment) -> bool {
        self.timestamps
            .as_ref()
            .is_some_and(|ts| match seg.options.timestamps() {
                Some(got) => ts.is_stale(now, got),
                None => ts.required,
            })
    }

    /// RFC 7323 §5.3 (PAWS) and §3.2 (TS-8). RST is exempt (TS-12).
    pub(super) fn check_timestamps(&mut self, now: Instant, seg: &Segment) -> Result<(), Dropped> {
        let Some(ts) = &self.timestamps else {
            return Ok(());
        };
        if seg.has(Flags::RST) {
            return Ok(());
        }
        let Some(got) = seg.options.timestamps() else {
            return if ts.required {
                Err(Dropped::NoTimestamp)
            } else {
                Ok(())
            };
        };
        if ts.is_stale(now, got) {
            if seg.is_empty() {
                self.acks.owe_out_of_window(now);
            } else {
                self.acks.owe(AckWhy::OutOfWindow);
            }
            return Err(Dropped::StaleTimestamp);
        }
        Ok(())
    }

    /// RFC 5961 §3.2: only RCV.NXT itself resets, the rest of the window is challenged.
    pub(super) fn check_rst(
        &mut self,
        now: Instant,
        seq: SeqNum,
        seg: &Segment,
    ) -> Result<(), Dropped> {
        if !seg.has(Flags::RST) {
            return Ok(());
        }
        if seq < self.rcv.nxt() {
            return Err(Dropped::BadReset); // text that reaches into the window changes nothing
        }
        if self.state == State::TimeWait {
            return Err(Dropped::BadReset); // RFC 1337: TIME-WAIT is not assassinated
        }
        if seq > self.rcv.nxt() {
            self.acks.owe_challenge(now);
            return Err(Dropped::BlindReset);
        }
        let finished = matches!(self.state, State::Closing | State::LastAck);
        self.close(if finished {
            CloseReason::Finished
        } else {
            CloseReason::Reset
        });
        Err(Dropped::Reset)
    }

    /// The ACK field: there, of something sent, and not too old (RFC 5961 §5.2); returns SEG.ACK.
    pub(super) fn check_ack(&mut self, now: Instant, seg: &Segment) -> Result<SeqNum, Dropped> {
        if !seg.has(Flags::ACK) {
            return Err(Dropped::NoAck);
        }
        let ack = self.snd.una.expand(seg.ack);
        let oldest = self.snd.una.saturating_sub(u64::from(self.snd.max_wnd));
        if ack > self.snd.nxt || ack < oldest {
            self.acks.owe_challenge(now);
            return Err(Dropped::BadAck);
        }
        Ok(ack)
    }
}
