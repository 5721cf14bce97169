//! The loss timer: the tail's probe (RFC 8985 §7), the retransmission timeout (RFC 6298 §5), and
//! the reordering timer (RFC 8985 §6.3).

use crate::config::Config;
use crate::congestion::CongestionKind;
use crate::time::{Duration, Instant};

use super::Connection;
use super::timers::LossTimer;

/// The least time before the tail is probed, since a host in user space may be kept from its ACKs
/// by others for a while; and what is added for a lone segment, whose ACK may be delayed (RFC 8985
/// §7.2).
const MIN_PROBE: Duration = Duration::from_millis(20);
const MAX_ACK_DELAY: Duration = Duration::from_millis(50);

impl Connection {
    /// Starts, restarts or stops the loss timer after an ACK or a transmission (RFC 6298 §5).
    pub(super) fn update_loss_timer(&mut self, now: Instant, restart: bool) {
        if !self.state.sends() {
            self.timers.loss = None;
            return;
        }
        let waiting = match self.timers.loss {
            Some((_, timer)) if !restart => Some(timer),
            _ => None,
        };
        if self.snd.flight.outstanding() > 0 {
            if waiting != Some(LossTimer::Rto) {
                self.timers.loss = Some(self.loss_deadline(now));
            }
        } else if self.snd.end() > self.snd.nxt && self.timers.cork.is_none() {
            if waiting != Some(LossTimer::Persist) {
                self.timers.loss = Some((now + self.persist_interval(), LossTimer::Persist));
            }
        } else {
            self.timers.loss = None;
        }
        self.note_stall(now);
    }

    /// The tail's probe where one is due (RFC 8985 §7.2), else the retransmission timeout.
    fn loss_deadline(&self, now: Instant) -> (Instant, LossTimer) {
        let rto = now + self.rtt.backed_off_rto();
        if let Some(srtt) = self.rtt.srtt()
            && self.sack
            && self.recovery.may_probe(&self.snd.flight)
        {
            let alone = self.snd.flight.outstanding() <= self.snd.mss;
            let delay = if alone { MAX_ACK_DELAY } else { Duration::ZERO };
            let probe = now + (2 * srtt).max(MIN_PROBE) + delay;
            if probe < rto {
                return (probe, LossTimer::Probe);
            }
        }
        (rto, LossTimer::Rto)
    }

    /// No ACK for the tail in two round trips: its last segment again, to have one (RFC 8985
    /// §7.3). The retransmission timer takes over.
    pub(super) fn on_probe(&mut self, now: Instant) {
        self.recovery
            .on_probe(self.snd.nxt, self.snd.mss, &mut self.snd.flight);
        self.update_loss_timer(now, true);
    }

    /// The reordering window of something has closed (RFC 8985 §6.3).
    pub(super) fn on_reorder_timeout(&mut self, now: Instant) {
        let (nxt, mss) = (self.snd.nxt, self.snd.mss);
        if self
            .recovery
            .on_reorder_timeout(now, nxt, mss, &mut self.snd.flight, &self.rtt)
        {
            self.on_congestion(now, CongestionKind::Loss);
        }
    }

    /// RFC 6298 §5.4–5.6.
    pub(super) fn on_rto(&mut self, now: Instant, config: &Config) {
        if self.is_hopeless(now, config) {
            self.give_up();
            return;
        }
        if self.timers.retransmits == 0 {
            // A second timeout of the same byte does not halve again (RFC 5681 §3.1).
            self.on_congestion(now, CongestionKind::Timeout);
        }
        self.timers.retransmits = self.timers.retransmits.saturating_add(1);
        self.rtt.back_off();
        self.recovery.on_rto(self.snd.nxt, &mut self.snd.flight);
        self.update_loss_timer(now, true);
    }
}
