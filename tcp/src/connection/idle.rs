//! How long a connection waits for its peer: user timeout, keep-alive, what is left of an orphan's
//! life, FIN-WAIT-2 and TIME-WAIT.

use crate::config::Config;
use crate::error::CloseReason;
use crate::time::{Duration, Instant};

use super::Connection;
use super::state::State;

/// How long an orphan waits for progress, be it that the peer is silent or that its window stays
/// shut (`tcp_orphan_retries` of Linux comes to about as much; at least 100 s by SHLD-11).
const ORPHAN_PATIENCE: Duration = Duration::from_secs(100);

/// How long a peer whose window is shut may say nothing at all (R2 of at least 100 s, SHLD-11).
pub(super) const MAX_SILENCE: Duration = Duration::from_secs(960);

impl Connection {
    /// The peer sent something acceptable.
    pub(super) const fn on_sign_of_life(&mut self, now: Instant) {
        self.last_received = now;
        self.keepalive_probes = 0;
        self.timers.probed_at = None;
    }

    /// Something waits for the peer, or nothing does any more.
    pub(super) fn note_stall(&mut self, now: Instant) {
        if self.timers.loss.is_none() {
            self.timers.stalled_since = None;
        } else {
            self.timers.stalled_since.get_or_insert(now);
        }
    }

    /// Whether the retransmission timer has fired often enough (R2 of RFC 9293 §3.8.3).
    pub(super) fn is_hopeless(&self, now: Instant, config: &Config) -> bool {
        match self.options.user_timeout() {
            Some(_) => false, // it has a deadline of its own
            // A shut window is no silence (MUST-37, SHLD-17).
            None if self.snd.wnd == 0 => now - self.last_received >= MAX_SILENCE,
            None => self.timers.retransmits >= config.retries,
        }
    }

    /// When a stall ends the connection: the application's limit (MUST-21, RFC 5482), and the one
    /// of those whose application let go.
    pub(super) fn patience_deadline(&self) -> Option<Instant> {
        let since = self.timers.stalled_since?;
        let application = self.options.user_timeout().map(|limit| since + limit);
        let orphan = self
            .timers
            .released_at
            .map(|released| since.max(released) + ORPHAN_PATIENCE);
        Instant::earliest([application, orphan])
    }

    /// The application's limit ends it silently (RFC 9293 §3.10.8).
    pub(super) fn on_patience_end(&mut self, now: Instant) {
        let since = self.timers.stalled_since.unwrap_or(now);
        let by_user = self
            .options
            .user_timeout()
            .is_some_and(|limit| since + limit <= now);
        if self.orphan && !by_user {
            self.owe_reset(); // nobody is left to notice that the peer comes back
        }
        self.give_up();
    }

    pub(super) fn give_up(&mut self) {
        let unreachable = self.path_trouble;
        self.close(if unreachable {
            CloseReason::Unreachable
        } else {
            CloseReason::TimedOut
        });
    }

    /// Keep-alive, an orphan's FIN-WAIT-2, or TIME-WAIT: which one, the state tells.
    pub(super) fn idle_deadline(&self, config: &Config) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::TimeWait => self.time_wait_end(config),
            State::FinWait2 if self.orphan => {
                let entered = self
                    .timers
                    .entered_fin_wait_2
                    .map(|at| at + self.fin_timeout(config));
                entered.max(self.timers.linger)
            }
            _ => self.keepalive_deadline(),
        }
    }

    /// How long an orphan stays in FIN-WAIT-2 (SM-17, `TCP_LINGER2`).
    pub(super) fn fin_timeout(&self, config: &Config) -> Duration {
        self.options.linger2.unwrap_or(config.fin_timeout)
    }

    /// MUST-26: only while nothing is outstanding.
    fn keepalive_deadline(&self) -> Option<Instant> {
        let keepalive = self.options.keepalive?;
        if self.snd.flight.outstanding() > 0 || self.snd.end() > self.snd.nxt {
            return None;
        }
        Some(match self.timers.probed_at {
            Some(at) => at + keepalive.interval,
            None => self.last_received + keepalive.idle,
        })
    }

    pub(super) fn on_idle(&mut self, now: Instant) {
        match self.state {
            State::TimeWait | State::FinWait2 if self.state == State::TimeWait || self.orphan => {
                self.close(CloseReason::Finished);
            }
            _ => self.on_keepalive(now),
        }
    }

    /// MUST-29: one unanswered probe is no death. A user timeout counts instead of the number of
    /// probes, as on Linux.
    fn on_keepalive(&mut self, now: Instant) {
        let Some(keepalive) = self.options.keepalive else {
            return;
        };
        let dead = match self.options.user_timeout() {
            Some(limit) => self.keepalive_probes > 0 && now - self.last_received >= limit,
            None => self.keepalive_probes >= keepalive.count,
        };
        if dead {
            self.owe_reset();
            self.give_up();
        } else {
            self.keepalive_probes = self.keepalive_probes.saturating_add(1);
            self.timers.probed_at = Some(now);
            self.timers.probe_owed = true;
            self.events.count().keepalives += 1;
        }
    }

    /// When TIME-WAIT ends, for the record that takes over.
    pub(crate) fn time_wait_end(&self, config: &Config) -> Option<Instant> {
        self.timers
            .entered_time_wait
            .map(|at| at + config.time_wait)
    }
}
