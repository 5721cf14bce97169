//! When data leaves: at a rate, in small bursts, rather than as fast as windows and ACKs allow.
//!
//! Each transmission moves the earliest time of the next one on by its own length at the pacing
//! rate. Only data is paced: ACKs, probes and the first segment of a repair leave at once.

use core::num::NonZeroU64;

use crate::config::Pacing;
use crate::congestion::CongestionController;
use crate::time::{Duration, Instant};

use super::Connection;

/// What may leave in one go is what the rate lets out in this time, unless that is less than two
/// segments; a timer for each segment would cost more than it is worth.
const QUANTUM: Duration = Duration::from_millis(1);

/// How far behind its time a connection may be and still catch up: timers and drivers are late.
pub(super) const CREDIT: Duration = Duration::from_millis(1);

/// Segments at the start of a connection, and after a pause that made the window the initial one
/// again, that are not paced: that window leaves in one burst (RFC 9002 §7.7 allows for one of that
/// size).
pub(super) const UNPACED: u8 = 10;

/// The connection's own rate is this many percent of window per round trip: in slow start twice
/// the window, which is what it grows to meanwhile, later enough not to be the limit. Linux has the
/// same (`tcp_pacing_ss_ratio`, `tcp_pacing_ca_ratio`).
const SLOW_START_RATIO: u64 = 200;
const AVOIDANCE_RATIO: u64 = 120;

/// What pacing lets out now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// As much as there is.
    All,
    /// So many bytes.
    Bytes(u32),
    /// Nothing before that time.
    At(Instant),
}

impl Connection {
    /// Bytes per second at which data leaves; `None`: as fast as it can.
    pub(super) fn pacing_rate(&self) -> Option<u64> {
        let wanted = self.cc.pacing_rate().or_else(|| self.window_rate());
        let most = self.options.max_pacing_rate.map(NonZeroU64::get);
        match (wanted, most) {
            (Some(wanted), Some(most)) => Some(wanted.min(most)),
            (wanted, most) => wanted.or(most),
        }
    }

    /// The connection's own rule, from the window and the round trip. A window that is answered
    /// within a quantum's time is paced by its ACKs.
    fn window_rate(&self) -> Option<u64> {
        let quantum = const { QUANTUM.as_nanos() as u64 };
        let srtt = self.rtt.srtt_nanos().filter(|&srtt| srtt > quantum)?;
        let (cwnd, ssthresh) = (self.cc.cwnd(), self.cc.ssthresh());
        match self.pacing {
            Pacing::Off => return None,
            Pacing::SlowStart if cwnd >= ssthresh => return None,
            Pacing::SlowStart | Pacing::On => {}
        }
        let ratio = if cwnd < ssthresh / 2 {
            SLOW_START_RATIO
        } else {
            AVOIDANCE_RATIO
        };
        let window = u64::from(cwnd.max(self.snd.flight.in_flight()));
        Some(window * ratio * 10_000 / (srtt / 1000))
    }

    /// What may leave at `now`.
    pub(super) fn pacing_grant(&mut self, now: Instant) -> Grant {
        self.timers.pacing = None;
        if self.unpaced > 0 {
            return Grant::All;
        }
        let Some(rate) = self.pacing_rate() else {
            return Grant::All;
        };
        match self.next_send_time {
            Some(at) if at > now && self.burst_left < self.snd.mss => Grant::At(at),
            Some(at) if at > now => Grant::Bytes(self.burst_left),
            _ => {
                self.burst_left = self.send_quantum(rate);
                Grant::Bytes(self.burst_left)
            }
        }
    }

    /// Whether anything is there that pacing may hold back.
    pub(super) fn has_data_to_send(&self) -> bool {
        self.snd.end() > self.snd.nxt
            || self.snd.flight.lost() > 0
            || self.recovery.fills_holes() && self.snd.flight.next_hole().is_some()
    }

    /// The size of a burst at `rate`: whole segments, two at least.
    fn send_quantum(&self, rate: u64) -> u32 {
        let quantum = self
            .cc
            .send_quantum()
            .unwrap_or_else(|| u32::try_from(rate / per_second(QUANTUM)).unwrap_or(u32::MAX));
        let mss = self.snd.mss;
        (quantum / mss).max(2).saturating_mul(mss)
    }

    /// `bytes` leave at `now`, and take their time.
    pub(super) fn on_paced(&mut self, now: Instant, bytes: u32) {
        let segments = bytes.div_ceil(self.snd.mss);
        self.unpaced = u32::from(self.unpaced).saturating_sub(segments) as u8;
        self.burst_left = self.burst_left.saturating_sub(bytes);
        self.next_send_time = self.pacing_rate().map(|rate| {
            let earliest = now.saturating_before(CREDIT);
            let from = self.next_send_time.map_or(now, |at| at.max(earliest));
            let nanos = u64::from(bytes) * 1_000_000_000 / rate.max(1);
            from.after_nanos(nanos)
        });
    }
}

/// How often `time` fits into a second.
const fn per_second(time: Duration) -> u64 {
    1_000_000_000 / time.as_nanos() as u64
}
