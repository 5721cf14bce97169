//! The path's MTU at work: reports and black holes make segments smaller, probes larger again.

use core::ops::Range;

use crate::congestion::CongestionController;
use crate::outlet::Outlet;
use crate::recovery::Response;
use crate::send::{RAISE_INTERVAL, Verdict};
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

use super::{Connection, header_overhead, payload_limit};

/// Segments that follow a probe, so that its loss shows by duplicate ACKs (RFC 4821 §7.4).
const FOLLOWERS: u32 = 4;

/// Timeouts of one segment before IP hears of it (R1 of RFC 9293 §3.8.3).
const R1: u8 = 3;

/// What the search for a larger MTU has to say about the next segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MtuProbe {
    /// Nothing.
    No,
    /// It waits until the windows take the probe.
    Wait,
    /// It is the probe.
    Send(Range<SeqNum>),
}

impl Connection {
    /// Tells IP what this connection has learnt, and hears what others have (PM-6).
    pub(super) fn heed_path(&mut self, now: Instant, tx: &mut impl Outlet) {
        let remote = self.flow.remote_ip();
        self.path.withdraw_offer();
        if let Some(mtu) = self.path.take_owed() {
            tx.lower_path_mtu(remote, mtu);
        }
        if core::mem::take(&mut self.advice_owed) {
            tx.on_negative_advice(remote);
        }
        self.ip_mtu = tx.path_mtu(remote);
        let top = self.largest_packet();
        let lowered = self.path.on_ip_mtu(now, self.ip_mtu);
        if lowered || !self.probes_mtu() && self.path.raise(now, top) {
            self.update_mss();
        }
    }

    /// ICMP: the packet with number `seq`, which is in flight, did not fit.
    pub(super) fn on_packet_too_big(&mut self, now: Instant, seq: SeqNum, mtu: u16) {
        match self.path.on_report(now, seq, mtu) {
            Verdict::Nothing => {}
            Verdict::ProbeFailed(range) => self.snd.flight.mark_lost(&range),
            Verdict::Lowered | Verdict::Known => {
                self.update_mss();
                // It goes out again, cut to fit, and that is no congestion (RFC 8201 §5.4).
                self.snd.flight.mark_oversized(seq, self.snd.mss);
            }
        }
    }

    /// The path MTU or an option has changed: segments follow.
    pub(super) fn update_mss(&mut self) {
        let peer_mss = self.options.clamp_mss(self.snd.peer_mss);
        let timestamps = self.timestamps.is_some();
        let before = self.snd.mss;
        let mss = payload_limit(&self.flow, peer_mss, self.path.mtu(), timestamps);
        self.snd.mss = mss;
        if mss == before {
            return;
        }
        let cwnd = u64::from(self.cc.cwnd());
        self.cc.set_mss(mss);
        if mss < before {
            // As many segments as before may be in flight, so fewer bytes.
            let cwnd = cwnd * u64::from(mss) / u64::from(before);
            self.cc.set_window(cwnd as u32, self.cc.ssthresh());
        }
    }

    /// The retransmission timer fired, `retransmits` times before.
    pub(super) fn suspect_path(&mut self, now: Instant) {
        let fired = self.timers.retransmits;
        if fired + 1 == R1 {
            self.advice_owed = true;
            self.events.stalled = true;
        }
        let mut lowered = self.path.on_timeout(now);
        // A probe of the tail that went unanswered is as good as a timeout.
        let strikes = fired.saturating_add(self.recovery.has_probed_tail().into());
        if !lowered && self.snd.wnd > 0 && self.snd.flight.outstanding() > self.snd.mss / 2 {
            let pause = if self.probes_mtu() {
                Duration::ZERO
            } else {
                RAISE_INTERVAL
            };
            lowered = self.path.on_black_hole(now, strikes, pause);
        }
        if lowered {
            self.update_mss();
        }
    }

    /// Recovery has found a loss. If it is the probe's alone, that says something of its size and
    /// nothing of congestion (RFC 4821 §7.3, PM-9).
    pub(super) fn excuse_probe(&mut self, now: Instant, mut response: Response) -> Response {
        if !response.reduce {
            return response;
        }
        let Some(lost) = self.snd.flight.next_lost() else {
            return response;
        };
        let srtt = self.rtt.srtt().unwrap_or_default();
        let epoch = srtt * (self.cc.cwnd() / self.snd.mss / 2).max(1);
        let alone = lost.end - lost.start == self.snd.flight.lost();
        match self.path.probe() {
            Some(probe) if alone && probe.start <= lost.start && lost.end <= probe.end => {
                self.path.on_probe_lost(now, epoch);
                self.snd.flight.mark_lost(&probe);
                self.recovery.cancel_episode();
                response.reduce = false;
            }
            _ => {
                self.path.on_probe_unclear(now, epoch);
                if self.path.on_loss(now, &lost) {
                    self.update_mss();
                }
            }
        }
        response
    }

    /// SND.UNA has moved: what arrived tells which sizes pass.
    pub(super) fn confirm_path(&mut self, now: Instant) {
        if self.path.on_ack(now, self.snd.una) {
            self.update_mss();
        }
    }

    /// Whether the next segment is a probe of a larger MTU.
    pub(super) fn mtu_probe(&mut self, now: Instant) -> MtuProbe {
        if !self.probes_mtu() || self.snd.up.is_some() || self.recovery.is_repairing() {
            return MtuProbe::No;
        }
        let top = self.largest_packet();
        let Some(size) = self.path.candidate(now, top) else {
            return MtuProbe::No;
        };
        let mss = self.options_mss();
        let len = mss + u32::from(size - self.path.mtu());
        let least = len + FOLLOWERS * mss;
        let most = self.snd.unsent().min(self.snd.wnd).min(self.cc.cwnd());
        if most < least {
            return MtuProbe::No;
        }
        if self.snd.usable_window() < least || self.cwnd_room() < len {
            let waits = self.snd.flight.in_flight() > 0;
            return if waits { MtuProbe::Wait } else { MtuProbe::No };
        }
        let range = self.snd.nxt..self.snd.nxt + len;
        self.path.offer_probe(range.clone(), size);
        MtuProbe::Send(range)
    }

    /// Probes need a peer that says which segment is missing.
    fn probes_mtu(&self) -> bool {
        self.path.is_probing() && self.sack
    }

    /// The largest packet that IP and the peer take.
    fn largest_packet(&self) -> u16 {
        let overhead = header_overhead(self.flow.remote_ip());
        let peer_mss = self.options.clamp_mss(self.snd.peer_mss);
        self.ip_mtu.min(peer_mss.saturating_add(overhead))
    }
}
