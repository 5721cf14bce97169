//! When things are said: acknowledgments in time, retransmissions not too soon.

use std::ops::Range;
use std::time::Duration;

use crate::end::{End, Sight};
use crate::judge::{Fault, Faults, Seen};
use crate::rule::Rule;

/// An ACK of in-order bytes may wait this long (RFC 9293 MUST-40).
const DELAYED_ACK_LIMIT: Duration = Duration::from_millis(500);
/// What a real host's timers and its device's queue may add.
const SLACK: Duration = Duration::from_millis(50);
/// A timer may stop doubling at a minute (RFC 6298 §2.5).
const LONGEST_RTO: Duration = Duration::from_secs(60);
/// The timer of who has measured nothing (RFC 6298 §2.1, RFC 8985 §7.2), which may be so for long:
/// what is repeated gives no sample (RFC 6298 §3).
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);
/// Two intervals whose quotient is below this did not double; timers fire a little late.
const DOUBLED: f64 = 1.7;
/// The same from afar, where a retransmission between may have been lost before it was seen.
const DOUBLED_FROM_AFAR: f64 = 1.1;

/// Bytes that wait for an acknowledgment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AckDue {
    /// The packet that brought them.
    packet: usize,
    since: Duration,
    /// The acknowledgment due.
    ack: u64,
}

/// An end's retransmission timer, as its transmissions show it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    /// The first unacknowledged position and when it was sent last, with nothing heard since.
    last: Option<(u64, Duration)>,
    /// The time between the two last transmissions of it, when both were repetitions.
    interval: Option<Duration>,
    /// The last transmission was a repetition.
    repeated: bool,
    /// The shortest time from a transmission to its acknowledgment.
    shortest: Option<Duration>,
    /// RFC 6675 §2: RecoveryPoint, what had been sent when the repairs under way began, and RescueRxt:
    /// until this is acknowledged, the end of what is missing was repeated for once.
    recovery: u64,
    rescued: u64,
    /// When the first unacknowledged byte was repeated last, so late that it may have been a timeout:
    /// all that was sent before may then be repeated (RFC 6675 §5.1, RFC 8985 §8).
    timeout: Duration,
}

impl Timer {
    /// Something reaches the end: its timer may start anew.
    pub(crate) fn restart(&mut self) {
        (self.last, self.interval, self.repeated) = (None, None, false);
    }

    /// What was sent last at `sent` is acknowledged.
    pub(crate) fn sample(&mut self, now: Duration, sent: Option<Duration>) {
        let sample = sent.map(|sent| now.saturating_sub(sent));
        self.shortest = [self.shortest, sample].into_iter().flatten().min();
    }
}

impl End {
    /// In-order bytes up to `ack` reach this end.
    pub(crate) fn owe_ack(&mut self, seen: &Seen<'_>, ack: u64) {
        let (packet, since) = (seen.packet, seen.now);
        if self.sight > Sight::Passing {
            self.ack_due.get_or_insert(AckDue { packet, since, ack });
        }
    }

    /// It has acknowledged what it acknowledged.
    pub(crate) fn pay_ack(&mut self, now: Duration) {
        self.taken.insert(0, self.said_ack);
        let Some(due) = self.ack_due.as_mut().filter(|due| due.ack <= self.said_ack) else {
            return;
        };
        (due.since, due.ack) = (now, self.taken.contiguous());
        self.ack_due = self.ack_due.filter(|due| self.said_ack < due.ack);
    }

    pub(crate) fn check_overdue(&mut self, now: Duration) -> Option<Fault> {
        let slack = if self.sight == Sight::Exact {
            Duration::ZERO
        } else {
            SLACK
        };
        let due = self.ack_due?;
        let waited = now.saturating_sub(due.since);
        if waited <= DELAYED_ACK_LIMIT + slack {
            return None;
        }
        self.ack_due = None;
        let what = format!(
            "arrived {waited:?} ago and is not acknowledged up to {}",
            due.ack
        );
        Some(Fault {
            rule: Rule::AckDelayed,
            packet: due.packet,
            what,
        })
    }

    /// Positions from `seq` on are sent, again if `again`.
    pub(crate) fn check_timer(
        &mut self,
        seen: &Seen<'_>,
        seq: u64,
        again: bool,
        faults: &mut Faults,
    ) {
        let now = seen.now;
        if !again || seq > self.acked {
            if !again {
                self.timer.restart();
                self.timer.last = (seq <= self.acked).then_some((seq, now));
            }
            return;
        }
        let timer = &mut self.timer;
        let Some((_, at)) = timer.last.filter(|&(last, _)| last == seq) else {
            timer.restart();
            (timer.last, timer.repeated) = (Some((seq, now)), true);
            return;
        };
        let interval = now.saturating_sub(at);
        let copy = |before: Duration| self.sight == Sight::Passing && interval < before / 2;
        if timer.interval.is_some_and(copy) {
            return; // the network's, or the capture's
        }
        timer.last = Some((seq, now));
        // The time to the first repetition is that of a probe (RFC 8985 §7), or began before an
        // acknowledgment.
        if !std::mem::replace(&mut timer.repeated, true) {
            return;
        }
        if let Some(before) = timer.interval.replace(interval) {
            // Linux sends its first SYNs at equal intervals.
            let doubled = match self.sight {
                Sight::Exact => DOUBLED,
                _ if seq == 0 => 0.85,
                Sight::Near => DOUBLED,
                Sight::Passing => DOUBLED_FROM_AFAR,
            };
            let least = before.mul_f64(doubled).min(LONGEST_RTO);
            if before < LONGEST_RTO && interval < least {
                let what =
                    format!("is sent again after {interval:?}, before that after {before:?}");
                faults.push(Rule::BackOff, what);
            }
        }
    }

    /// Bytes are sent again: could their acknowledgment have come?
    pub(crate) fn check_early(&mut self, now: Duration, range: Range<u64>, faults: &mut Faults) {
        let (Some(sent), Some(shortest)) = (self.kept.sent(range.start), self.timer.shortest)
        else {
            return;
        };
        let repairing = self.acked < self.timer.recovery;
        if !repairing {
            self.timer.recovery = self.sent;
        }
        let too_large = self.path.is_some_and(|path| path.since >= sent);
        if too_large || self.window_closed || self.sight != Sight::Exact {
            return;
        }
        let waited = now.saturating_sub(sent);
        // A timer of something older may be what ran out, and repeat this in its stead (RFC 8985
        // §7.3).
        let oldest = self
            .kept
            .sent(self.acked)
            .map_or(sent, |oldest| oldest.min(sent));
        let unmeasured = waited >= FIRST_TIMEOUT;
        if now.saturating_sub(oldest) >= shortest && range.contains(&self.acked) {
            self.timer.timeout = now;
        }
        let is_late = now.saturating_sub(oldest) >= shortest || sent < self.timer.timeout;
        if unmeasured || is_late {
            return;
        }
        let is_last = self.kept.last_missing() <= Some(range.end);
        if (repairing || self.kept.has_holes()) && is_last && self.timer.rescued <= self.acked {
            self.timer.rescued = self.timer.recovery;
            return;
        }
        let start = range.start;
        faults.push(
            Rule::RetransmittedEarly,
            format!(
                "repeats {start} after {waited:?}, no answer came sooner than after {shortest:?}"
            ),
        );
    }
}
