//! What leaves next while losses are repaired: a probe of the tail, what is lost, or new data.

use core::ops::Range;

use crate::send::Fin;
use crate::seq::SeqNum;
use crate::time::Instant;

use super::Connection;
use super::path::MtuProbe;

impl Connection {
    /// The range to send next, `limit` bytes at most: what is lost before anything new (RFC 6675
    /// §4, NextSeg), with exceptions for probes.
    pub(super) fn next_by_recovery(&mut self, now: Instant, limit: u32) -> Option<Range<SeqNum>> {
        if self.recovery.owes_probe() {
            let probe = self.next_probe();
            if probe.is_some() {
                return probe;
            }
            self.recovery.drop_probe();
        }
        if let Some(segments) = self.recovery.forward_first() {
            let most = u32::from(segments) * self.snd.mss;
            let new = (most > 0).then(|| self.next_new_data(now, limit.min(most)));
            if segments < 2 || new.as_ref().is_some_and(Option::is_some) {
                return new.flatten();
            }
            self.recovery.end_frto();
        }
        if self.snd.flight.next_lost().is_some() {
            return self.next_retransmission(limit);
        }
        let new = match self.mtu_probe(now) {
            MtuProbe::No => self.next_new_data(now, limit),
            MtuProbe::Wait => None,
            MtuProbe::Send(range) => Some(range),
        };
        if new.is_none() && self.recovery.fills_holes() {
            return self.next_hole();
        }
        new
    }

    fn next_retransmission(&self, limit: u32) -> Option<Range<SeqNum>> {
        let lost = self.snd.flight.next_lost()?;
        let mss = self.snd.mss;
        let room = self.cwnd_room();
        let forced = self.recovery.is_forced() || self.snd.flight.in_flight() == 0;
        // SHLD-16: never beyond the window; its first segment goes out even if that has shut.
        let window = match self.snd.right_edge() - lost.start {
            0 if lost.start > self.snd.una => return None,
            0 => mss,
            open => open,
        };
        let wanted = limit.min(lost.end - lost.start).min(window);
        let len = if wanted <= room {
            wanted
        } else {
            room / mss * mss
        };
        let len = if len == 0 && forced {
            mss.min(wanted)
        } else {
            len
        };
        (len > 0).then(|| lost.start..lost.start + len)
    }

    /// A tail loss probe: a segment of new data if there is any, else the last one again, whatever
    /// cwnd says (RFC 8985 §7.3).
    fn next_probe(&self) -> Option<Range<SeqNum>> {
        let snd = &self.snd;
        let (unsent, window) = (snd.unsent(), snd.usable_window());
        let len = unsent.min(window).min(self.options_mss());
        let fin = snd.fin == Fin::Queued && len == unsent && len < window;
        let new = len + u32::from(fin);
        if new > 0 {
            return Some(snd.nxt..snd.nxt + new);
        }
        snd.flight
            .tail()
            .filter(|tail| tail.end <= snd.right_edge())
            .map(|tail| {
                // The path may take less by now than when it was sent first.
                let most = u64::from(self.options_mss());
                tail.end.saturating_sub(most).max(tail.start)..tail.end
            })
    }

    /// Rules (3) and (4) of RFC 6675's NextSeg: a hole that nobody has shown to be lost; then, once
    /// an episode, the end of the flight.
    fn next_hole(&self) -> Option<Range<SeqNum>> {
        let mss = self.options_mss();
        if self.cwnd_room() < self.snd.mss {
            return None;
        }
        let flight = &self.snd.flight;
        let hole = flight
            .next_hole()
            .map(|hole| hole.start..hole.end.min(hole.start + mss));
        let rescue = || {
            flight
                .highest_hole()
                .filter(|_| self.recovery.may_rescue())
                .map(|last| last.end.saturating_sub(mss.into()).max(last.start)..last.end)
        };
        hole.or_else(rescue)
            .filter(|range| range.end <= self.snd.right_edge())
    }

    /// `range` was sent again, in segments of `mss`.
    pub(super) fn on_resent(&mut self, now: Instant, range: &Range<SeqNum>, mss: u32) {
        let flight = &mut self.snd.flight;
        let begins = |at: Option<Range<SeqNum>>| at.is_some_and(|at| at.start == range.start);
        let rescue = self.recovery.fills_holes()
            && !begins(flight.next_lost())
            && !begins(flight.next_hole());
        if rescue {
            self.recovery.on_rescue();
            flight.on_rescue(now, range);
        } else {
            flight.on_retransmit(now, range, mss);
        }
        self.recovery.on_sent(now, range, self.snd.nxt, true, mss);
        // RFC 6298 §5.4: what is sent again has the whole timeout to be answered.
        self.update_loss_timer(now, true);
    }

    /// New data was sent, in segments of `mss`.
    pub(super) fn on_sent_new(&mut self, now: Instant, range: &Range<SeqNum>, mss: u32) {
        self.snd.flight.on_sent(now, range.clone(), mss);
        self.snd.nxt = range.end;
        self.recovery.on_sent(now, range, range.end, false, mss);
        self.postpone_probe(now);
    }
}
