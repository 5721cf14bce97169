//! Small writes that wait for acknowledgments which are delayed: Nagle's algorithm against
//! delayed acknowledgments (RFC 896, RFC 9293 §3.8.6.3, §3.7.4).

use std::time::Duration;

use serde::Serialize;

use crate::moment::{Moment, seconds};

/// What an acknowledgment must be late by to be a delayed one.
const DELAYED: Duration = Duration::from_millis(20);
/// What a sender that was waiting for it may take to go on.
const AT_ONCE: Duration = Duration::from_millis(8);

/// Times at which a small segment waited for a delayed acknowledgment.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Waits {
    /// How often.
    pub times: u32,
    /// How long in all.
    #[serde(serialize_with = "seconds")]
    pub time: Duration,
    /// The acknowledgment that came late the first time.
    pub first: Option<Moment>,
    /// Delayed acknowledgments after which nothing was waiting.
    pub idle: u32,
    #[serde(skip)]
    late: Option<(Moment, Duration)>,
}

impl Waits {
    /// A bare acknowledgment of all that was sent comes `after` the last of it, a small segment;
    /// `least`: the fastest answer so far.
    pub(crate) fn on_ack(&mut self, now: Moment, after: Duration, least: Duration) {
        let by = after.saturating_sub(least);
        self.late = (by >= DELAYED).then_some((now, by));
    }

    /// The sender goes on; `answer`: how long it takes to react to what passes here.
    pub(crate) fn on_send(&mut self, now: Moment, answer: Duration) {
        let Some((ack, by)) = self.late.take() else {
            return;
        };
        if now.since(ack) <= answer + answer / 4 + AT_ONCE {
            self.times += 1;
            self.time += by;
            self.first.get_or_insert(ack);
        } else {
            self.idle += 1;
        }
    }

    /// The other end says something, which may be what the sender was waiting for.
    pub(crate) fn on_answer(&mut self) {
        self.late = None;
    }
}
