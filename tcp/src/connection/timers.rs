//! What a connection does when nothing arrives: the retransmission and persist timer, the delayed
//! ACK. What ends a connection that waits too long is in `idle`.

use crate::config::Config;
use crate::time::{Duration, Instant};

use super::Connection;
use super::idle::MAX_SILENCE;
use super::state::State;

/// The longest time between two probes of a closed window, or two retransmissions.
const MAX_INTERVAL: Duration = Duration::from_secs(120);

/// Least and longest time that a window too small for sense is left alone (RFC 9293 §3.8.6.2.1).
const OVERRIDE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

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
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Timers {
    pub(crate) loss: Option<(Instant, LossTimer)>,
    /// When the retransmission timeout was started (RFC 6298 §5); a probe may come first.
    pub(crate) rto_since: Option<Instant>,
    /// An orphan's time in FIN-WAIT-2 ends.
    pub(crate) linger: Option<Instant>,
    pub(crate) entered_fin_wait_2: Option<Instant>,
    pub(crate) entered_time_wait: Option<Instant>,
    /// Timeouts since SND.UNA moved last.
    pub(crate) retransmits: u8,
    pub(crate) persist_backoff: u8,
    /// A probe of the peer's window is to be sent.
    pub(crate) probe_owed: bool,
    /// Since when something waits for an acknowledgment or for the peer's window, without any
    /// progress.
    pub(crate) stalled_since: Option<Instant>,
    /// When pacing lets more data out.
    pub(crate) pacing: Option<Instant>,
    /// When what a cork holds back leaves all the same.
    pub(crate) cork: Option<Instant>,
    /// When keep-alive asked last, without an answer yet.
    pub(crate) probed_at: Option<Instant>,
    /// When the application let go.
    pub(crate) released_at: Option<Instant>,
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
        if self.state == State::Closed {
            return None;
        }
        let loss = self.timers.loss.map(|(deadline, _)| deadline);
        Instant::earliest([
            loss,
            self.recovery.reorder_deadline(),
            self.acks.deadline(),
            self.timers.cork,
            self.timers.pacing,
            self.patience_deadline(),
            self.ecn.hold(),
            self.idle_deadline(config),
        ])
    }

    /// Deals with what has fallen due by `now`.
    pub(crate) fn on_timeout(&mut self, now: Instant, config: &Config) {
        if self.state == State::Closed {
            return;
        }
        self.check_app_limited();
        self.acks.on_timeout(now);
        if self.patience_deadline().is_some_and(|at| at <= now) {
            self.on_patience_end(now);
            return;
        }
        if self.timers.cork.is_some_and(|at| at <= now) {
            self.push_queued();
        }
        // It is in line to send now, however long that takes.
        self.timers.pacing = self.timers.pacing.filter(|&at| at > now);
        self.end_ecn_hold(now);
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
            self.on_idle(now);
        }
    }

    /// Until the next probe of a shut window (SHLD-29, SHLD-30), or until less is sent than is
    /// sensible (MUST-38).
    pub(super) fn persist_interval(&self) -> Duration {
        if self.snd.usable_window() > 0 {
            return self.rtt.rto().clamp(OVERRIDE.0, OVERRIDE.1);
        }
        let backoff = 1 << self.timers.persist_backoff.min(10);
        (self.rtt.rto() * backoff).min(MAX_INTERVAL)
    }

    /// The peer's window stays shut: ask again, for as long as it answers (MUST-36, MUST-37).
    fn on_persist(&mut self, now: Instant) {
        let silent = now - self.last_received;
        // R2 of at least 100 s (SHLD-11) for a peer that answers nothing any more.
        if silent >= MAX_SILENCE && self.timers.persist_backoff > 0 {
            self.give_up();
            return;
        }
        let paced = self.next_send_time.is_some_and(|at| at > now);
        self.timers.probe_owed = !paced;
        if self.snd.usable_window() == 0 {
            self.events.count().window_probes += 1;
            self.timers.persist_backoff = self.timers.persist_backoff.saturating_add(1);
        }
        self.timers.loss = Some((now + self.persist_interval(), LossTimer::Persist));
    }
}
