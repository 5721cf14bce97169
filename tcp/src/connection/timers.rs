//! What a connection does when nothing arrives: the retransmission and persist timer, the delayed
//! ACK, keep-alive, and the ends of FIN-WAIT-2 and TIME-WAIT.

use crate::config::Config;
use crate::error::CloseReason;
use crate::time::{Duration, Instant};

use super::Connection;
use super::state::State;

/// The longest time between two probes of a closed window, or two retransmissions.
pub(super) const MAX_INTERVAL: Duration = Duration::from_secs(120);

/// What the one loss timer stands for; they exclude each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossTimer {
    /// Retransmission timeout (RFC 6298).
    Rto,
    /// The tail is to be probed (RFC 8985 §7).
    Probe,
    /// The peer's window is closed, or too small to bother (RFC 9293 §3.8.6.1).
    Persist,
}

/// Deadlines of a connection and what they have counted.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    pub(crate) loss: Option<(Instant, LossTimer)>,
    /// An orphan's time in FIN-WAIT-2 ends.
    pub(crate) linger: Option<Instant>,
    pub(crate) entered_fin_wait_2: Option<Instant>,
    pub(crate) entered_time_wait: Option<Instant>,
    /// Timeouts since SND.UNA moved last.
    pub(crate) retransmits: u8,
    pub(crate) persist_backoff: u8,
    /// A probe of the peer's window is to be sent.
    pub(crate) probe_owed: bool,
    /// When the oldest unacknowledged byte first timed out.
    pub(crate) unanswered_since: Option<Instant>,
}

impl Timers {
    /// The peer's window has opened.
    pub(super) fn stop_persist(&mut self) {
        self.persist_backoff = 0;
        self.loss = self.loss.filter(|(_, timer)| *timer == LossTimer::Rto);
    }
}

impl Connection {
    /// When [`Connection::on_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self, config: &Config) -> Option<Instant> {
        let loss = self.timers.loss.map(|(deadline, _)| deadline);
        [
            loss,
            self.recovery.reorder_deadline(),
            self.acks.deadline(),
            self.idle_deadline(config),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Deals with what has fallen due by `now`.
    pub(crate) fn on_timeout(&mut self, now: Instant, config: &Config) {
        self.acks.on_timeout(now);
        if self
            .recovery
            .reorder_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.on_reorder_timeout(now);
        }
        if let Some((deadline, timer)) = self.timers.loss
            && deadline <= now
        {
            self.timers.loss = None;
            match timer {
                LossTimer::Rto => self.on_rto(now, config),
                LossTimer::Probe => self.on_probe(now),
                LossTimer::Persist => self.on_persist(now),
            }
        }
        if self
            .idle_deadline(config)
            .is_some_and(|deadline| deadline <= now)
        {
            self.on_idle(config);
        }
    }

    pub(super) fn persist_interval(&self) -> Duration {
        let backoff = 1 << self.timers.persist_backoff.min(10);
        (self.rtt.rto() * backoff).min(MAX_INTERVAL)
    }

    /// The peer's window stays shut: ask again, for as long as it answers (MUST-36, MUST-37).
    fn on_persist(&mut self, now: Instant) {
        let silent = now - self.last_received;
        let orphaned_or_limited = match self.options.user_timeout {
            Some(limit) => silent >= limit,
            // R2 of at least 100 s (SHLD-11) for a peer that answers nothing any more.
            None => silent >= 8 * MAX_INTERVAL,
        };
        if orphaned_or_limited && self.timers.persist_backoff > 0 {
            self.give_up();
            return;
        }
        self.timers.probe_owed = true;
        self.timers.persist_backoff = self.timers.persist_backoff.saturating_add(1);
        self.timers.loss = Some((now + self.persist_interval(), LossTimer::Persist));
    }

    pub(super) fn give_up(&mut self) {
        let unreachable = self.soft_error;
        self.close(if unreachable {
            CloseReason::Unreachable
        } else {
            CloseReason::TimedOut
        });
    }

    /// Keep-alive, an orphan's FIN-WAIT-2, or TIME-WAIT: which one, the state tells.
    fn idle_deadline(&self, config: &Config) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::TimeWait => self
                .timers
                .entered_time_wait
                .map(|at| at + config.time_wait),
            State::FinWait2 if self.orphan => {
                let entered = self
                    .timers
                    .entered_fin_wait_2
                    .map(|at| at + config.fin_timeout);
                entered.max(self.timers.linger)
            }
            _ => self.keepalive_deadline(),
        }
    }

    /// MUST-26: only while nothing is outstanding.
    fn keepalive_deadline(&self) -> Option<Instant> {
        let keepalive = self.options.keepalive?;
        if self.snd.flight.outstanding() > 0 || self.snd.end() > self.snd.nxt {
            return None;
        }
        let probes = keepalive.interval * u32::from(self.keepalive_probes);
        Some(self.last_received + keepalive.idle + probes)
    }

    fn on_idle(&mut self, _config: &Config) {
        match self.state {
            State::TimeWait | State::FinWait2 if self.state == State::TimeWait || self.orphan => {
                self.close(CloseReason::Finished);
            }
            _ => {
                let count = self
                    .options
                    .keepalive
                    .map_or(0, |keepalive| keepalive.count);
                if self.keepalive_probes >= count {
                    self.reset_owed = true;
                    self.give_up();
                } else {
                    self.keepalive_probes += 1;
                    self.timers.probe_owed = true;
                }
            }
        }
    }

    /// When TIME-WAIT ends, for the record that takes over.
    pub(crate) fn time_wait_end(&self, config: &Config) -> Option<Instant> {
        self.timers
            .entered_time_wait
            .map(|at| at + config.time_wait)
    }
}
