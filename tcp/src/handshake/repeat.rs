//! When a SYN or SYN,ACK is sent again (RFC 6298 §5, MUST-22, MUST-23).

use crate::time::{Duration, Instant};

/// RFC 6298 §2.1: the first timeout, before any sample (RT-1).
const INITIAL_RTO: Duration = Duration::from_secs(1);

/// What a SYN or SYN,ACK of ours is sent with, and how often it was.
#[derive(Debug)]
pub(super) struct Repeat {
    sent: u8,
    first_sent_at: Option<Instant>,
    sent_at: Option<Instant>,
    deadline: Option<Instant>,
    /// Another segment carried the same SYN before.
    follows_syn: bool,
    pub(super) due: bool,
}

impl Repeat {
    pub(super) const fn new() -> Self {
        Self {
            sent: 0,
            first_sent_at: None,
            sent_at: None,
            deadline: None,
            follows_syn: false,
            due: true,
        }
    }

    /// For a SYN,ACK whose SYN went out alone before.
    pub(super) const fn after_syn() -> Self {
        Self {
            follows_syn: true,
            ..Self::new()
        }
    }

    pub(super) fn on_sent(&mut self, now: Instant) {
        let backoff = 1 << self.sent.min(7);
        self.deadline = Some(now + INITIAL_RTO * backoff);
        self.first_sent_at.get_or_insert(now);
        self.sent_at = Some(now);
        self.sent = self.sent.saturating_add(1);
        self.due = false;
    }

    /// True when it has been sent as often as may be, or for as long (`user_timeout`).
    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        retries: u8,
        user_timeout: Option<Duration>,
    ) -> bool {
        if self
            .deadline(user_timeout)
            .is_none_or(|deadline| deadline > now)
        {
            return false;
        }
        let out_of_time = user_timeout.is_some_and(|limit| self.age(now) >= limit);
        self.deadline = None;
        self.due = self.sent <= retries && !out_of_time;
        !self.due
    }

    pub(super) fn deadline(&self, user_timeout: Option<Duration>) -> Option<Instant> {
        let limit = self
            .first_sent_at
            .zip(user_timeout)
            .map(|(at, limit)| at + limit);
        let deadline = self.deadline?;
        Some(limit.map_or(deadline, |limit| limit.min(deadline)))
    }

    /// Stays silent until `age` after the first transmission.
    pub(super) fn defer(&mut self, age: Duration) {
        self.deadline = self.first_sent_at.map(|at| at + age);
    }

    /// How long ago it was sent first.
    pub(super) fn age(&self, now: Instant) -> Duration {
        self.first_sent_at.map_or(Duration::ZERO, |at| now - at)
    }

    /// Karn's rule: no sample once anything was sent twice.
    pub(super) fn rtt(&self, now: Instant) -> Option<Duration> {
        let once = self.sent == 1 && !self.follows_syn;
        self.sent_at.filter(|_| once).map(|at| now - at)
    }

    pub(super) const fn is_first(&self) -> bool {
        self.sent == 0
    }

    pub(super) const fn retransmits(&self) -> u8 {
        self.sent.saturating_sub(1)
    }
}
