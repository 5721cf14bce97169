//! The loss timer: the tail's probe (RFC 8985 §7), the retransmission timeout (RFC 6298 §5), and
//! the reordering timer (RFC 8985 §6.3).

use crate::config::Config;
use crate::congestion::CongestionKind;
use crate::send::AckOutcome;
use crate::time::{Duration, Instant};

use super::Connection;
use super::timers::LossTimer;

/// The time to the probe before there is a round trip to go by (RFC 8985 §7.2).
const PTO_WITHOUT_SRTT: Duration = Duration::from_secs(1);

impl Connection {
    /// Starts, restarts or stops the loss timer after an ACK or a transmission (RFC 6298 §5).
    pub(super) fn update_loss_timer(&mut self, now: Instant, restart: bool) {
        if !self.state.sends() {
            (self.timers.loss, self.timers.rto_since) = (None, None);
            return;
        }
        if self.snd.flight.outstanding() > 0 {
            let restart = restart || self.timers.rto_since.is_none();
            if restart {
                self.timers.rto_since = Some(now);
            }
            let keeps = match self.timers.loss {
                Some((_, LossTimer::Rto)) => !restart,
                Some((_, LossTimer::Probe)) => !restart && self.may_probe(),
                _ => false,
            };
            if !keeps {
                self.timers.loss = Some(self.loss_deadline(now));
            }
        } else if self.snd.end() > self.snd.nxt && self.timers.cork.is_none() {
            self.timers.rto_since = None;
            if restart || !matches!(self.timers.loss, Some((_, LossTimer::Persist))) {
                self.timers.loss = Some((now + self.persist_interval(), LossTimer::Persist));
            }
        } else {
            self.timers.rto_since = None;
            self.timers.loss = None;
        }
        self.note_stall(now);
    }

    /// New data left: the tail, and with it the time to probe it, is later (RFC 8985 §7.2).
    pub(super) fn postpone_probe(&mut self, now: Instant) {
        if !self.may_probe() {
            return self.update_loss_timer(now, false);
        }
        self.timers.rto_since.get_or_insert(now);
        self.timers.loss = Some(self.loss_deadline(now));
        self.note_stall(now);
    }

    fn may_probe(&self) -> bool {
        self.sack && self.recovery.may_probe(&self.snd.flight)
    }

    /// The tail's probe where one is due (RFC 8985 §7.2), else the retransmission timeout.
    fn loss_deadline(&self, now: Instant) -> (Instant, LossTimer) {
        let since = self.timers.rto_since.unwrap_or(now);
        let rto = self.rtt.deadline(since).max(now);
        if !self.may_probe() {
            return (rto, LossTimer::Rto);
        }
        let pto = match self.rtt.two_round_trips(now) {
            Some(at) if self.snd.flight.outstanding() > self.snd.mss => {
                at.max(now + self.min_probe)
            }
            Some(at) => at.max(now + self.min_probe) + self.max_ack_delay,
            None => now + PTO_WITHOUT_SRTT,
        };
        (pto.min(rto), LossTimer::Probe)
    }

    /// No ACK for the tail in two round trips: a segment that asks for one (RFC 8985 §7.3). The
    /// retransmission timer takes over.
    pub(super) fn on_probe(&mut self, now: Instant) {
        self.events.count().loss_probes += 1;
        self.recovery.on_probe_timeout();
        self.update_loss_timer(now, true);
    }

    /// The reordering window of something has closed (RFC 8985 §6.3).
    pub(super) fn on_reorder_timeout(&mut self, now: Instant) {
        let span = self.snd.una..self.snd.nxt;
        let response = self
            .recovery
            .on_reorder_timeout(now, span, &mut self.snd.flight, &self.rtt);
        self.follow(now, response, &AckOutcome::default(), false);
    }

    /// RFC 6298 §5.4–5.6.
    pub(super) fn on_rto(&mut self, now: Instant, config: &Config) {
        // What SACKs have shown of the round trip since the timer was armed counts, too.
        let due = self.rtt.deadline(self.timers.rto_since.unwrap_or(now));
        if due > now {
            self.timers.loss = Some((due, LossTimer::Rto));
            return;
        }
        if self.is_hopeless(now, config) {
            self.give_up();
            return;
        }
        self.events.count().timeouts += 1;
        self.stats.on_rto(now);
        self.suspect_path(now);
        let repeated = self.timers.retransmits > 0;
        if !repeated {
            // A second timeout of the same byte does not halve again (RFC 5681 §3.1).
            self.on_congestion(now, CongestionKind::Timeout);
        }
        self.timers.retransmits = self.timers.retransmits.saturating_add(1);
        self.rtt.back_off();
        let span = self.snd.una..self.snd.nxt;
        self.recovery
            .on_rto(now, span, repeated, &mut self.snd.flight, &self.rtt);
        self.tell_losses(now);
        self.update_loss_timer(now, true);
    }
}
