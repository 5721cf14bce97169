//! Congestion control: how much may be in flight.
//!
//! A controller sees samples, never the connection: it owns cwnd and ssthresh and nothing else.
//! Windows are bytes. What is lost, and when it is sent again, is `recovery`'s business.
//!
//! # An algorithm of one's own
//!
//! Implement [`CongestionController`] and hand a function that makes one to
//! [`CongestionAlgorithm::Custom`]:
//!
//! ```
//! use ustack_tcp::congestion::{AckSample, CongestionController, CongestionEvent, Setup};
//! use ustack_tcp::{Config, CongestionAlgorithm, CustomCongestion};
//!
//! /// Always twenty segments: for a link whose capacity is known.
//! #[derive(Debug)]
//! struct Fixed {
//!     mss: u32,
//! }
//!
//! impl CongestionController for Fixed {
//!     fn on_ack(&mut self, _ack: &AckSample) {}
//!     fn on_congestion(&mut self, _event: &CongestionEvent) {}
//!     fn undo(&mut self) {}
//!     fn set_window(&mut self, _cwnd: u32, _ssthresh: u32) {}
//!     fn set_mss(&mut self, mss: u32) {
//!         self.mss = mss;
//!     }
//!     fn cwnd(&self) -> u32 {
//!         20 * self.mss
//!     }
//!     fn ssthresh(&self) -> u32 {
//!         20 * self.mss
//!     }
//! }
//!
//! let mut config = Config::default();
//! config.congestion = CongestionAlgorithm::Custom(CustomCongestion {
//!     name: "fixed",
//!     make: |setup: &Setup| Box::new(Fixed { mss: setup.mss }),
//! });
//! let tcp = ustack_tcp::Tcp::new(config, [7; 32]);
//! # assert_eq!(tcp.connections().count(), 0);
//! ```

mod controller;
mod cubic;
mod hystart;
#[cfg(test)]
mod model;
mod reno;
mod usage;

pub use controller::Controller;
pub use cubic::Cubic;
pub use reno::Reno;

pub(crate) use usage::WindowUsage;

use core::fmt;

#[cfg(doc)]
use crate::config::CongestionAlgorithm;
use crate::time::{Duration, Instant};

/// No window grows beyond 1 GiB: what window scaling can express (RFC 7323 §2.3).
pub const MAX_CWND: u32 = 1 << 30;

/// What a controller starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setup {
    /// Payload of a full segment, in bytes.
    pub mss: u32,
    /// Congestion window to begin with, in bytes: the initial window, or what the connection has
    /// when its algorithm is changed.
    pub cwnd: u32,
    /// Slow-start threshold to begin with, in bytes; arbitrarily high on a new connection (CC-6).
    pub ssthresh: u32,
    /// Leave the initial slow start by delay, too (HyStart++, RFC 9406).
    pub hystart: bool,
    /// The device takes super-segments, so one ACK may answer for many segments.
    pub super_segments: bool,
}

impl Setup {
    /// A new connection: `cwnd` bytes of `mss`-byte segments, slow start, HyStart++.
    pub const fn new(mss: u32, cwnd: u32) -> Self {
        let mss = if mss == 0 { 1 } else { mss };
        Self {
            mss,
            cwnd: if cwnd < mss { mss } else { cwnd },
            ssthresh: u32::MAX,
            hystart: true,
            super_segments: false,
        }
    }
}

/// Data that left, new or again.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SentSample {
    /// When.
    pub now: Instant,
    /// Payload bytes.
    pub bytes: u32,
    /// Bytes in flight before it.
    pub in_flight: u32,
}

impl SentSample {
    /// `bytes` that left at `now` on top of `in_flight`.
    pub const fn new(now: Instant, bytes: u32, in_flight: u32) -> Self {
        Self {
            now,
            bytes,
            in_flight,
        }
    }
}

/// An ACK that moved SND.UNA.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct AckSample {
    /// When it arrived.
    pub now: Instant,
    /// Bytes it newly acknowledged, cumulatively or by SACK.
    pub acked: u32,
    /// Bytes in flight before it.
    pub in_flight: u32,
    /// Most bytes that were in flight at once in the last round trip.
    pub window_used: u32,
    /// cwnd stopped the sender in the last round trip.
    pub cwnd_limited: bool,
    /// It begins a round: it answers what was sent after the last round began (RFC 9406 §4.2).
    pub round_start: bool,
    /// The round trip that this ACK measured.
    pub rtt: Option<Duration>,
    /// Smoothed round trip.
    pub srtt: Option<Duration>,
    /// Losses are being repaired: the window stands still.
    pub in_recovery: bool,
}

impl AckSample {
    /// An ACK at `now` for `acked` bytes that used the whole window.
    pub const fn new(now: Instant, acked: u32) -> Self {
        Self {
            now,
            acked,
            in_flight: 0,
            window_used: 0,
            cwnd_limited: true,
            round_start: false,
            rtt: None,
            srtt: None,
            in_recovery: false,
        }
    }
}

/// What congestion shows itself by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CongestionKind {
    /// A loss that ACKs showed.
    Loss,
    /// The peer echoes a congestion mark (RFC 3168).
    Ecn,
    /// The retransmission timer.
    Timeout,
}

/// A congestion signal, at most one per round trip.
#[derive(Clone, Copy, Debug)]
pub struct CongestionEvent {
    /// When it was noticed.
    pub now: Instant,
    /// What showed it.
    pub kind: CongestionKind,
    /// What is to be reduced, in bytes: FlightSize (RFC 5681 §2), or what was lately acknowledged
    /// per round trip if that is more and the window is not in use (RFC 7661 §4.4.1).
    pub in_flight: u32,
}

/// What a connection asks of its congestion controller.
///
/// The calls come in this order: [`on_sent`](Self::on_sent) as data leaves, then for each ACK that
/// moves SND.UNA either [`on_congestion`](Self::on_congestion) or [`on_ack`](Self::on_ack).
/// [`cwnd`](Self::cwnd) is asked before each transmission.
pub trait CongestionController: fmt::Debug + Send {
    /// Data left.
    fn on_sent(&mut self, _sent: &SentSample) {}

    /// Data was acknowledged.
    fn on_ack(&mut self, ack: &AckSample);

    /// The network is congested.
    fn on_congestion(&mut self, event: &CongestionEvent);

    /// The last congestion event was none: back to what was before.
    fn undo(&mut self);

    /// The window was not used: it starts over from here (RFC 5681 §4.1, RFC 7661 §4.4.3).
    fn set_window(&mut self, cwnd: u32, ssthresh: u32);

    /// The segment size changed.
    fn set_mss(&mut self, mss: u32);

    /// Congestion window, in bytes.
    fn cwnd(&self) -> u32;

    /// Slow-start threshold, in bytes.
    fn ssthresh(&self) -> u32;
}

/// IW10 (RFC 6928 §2), in bytes (CC-1).
pub const fn initial_window(mss: u32) -> u32 {
    let ten = 10 * mss;
    let floor = if 2 * mss > 14_600 { 2 * mss } else { 14_600 };
    if ten < floor { ten } else { floor }
}

/// Whether the window was used and may grow (RFC 7661 §4.3, RV-1): in slow start it counts as used from
/// half of it on, since it doubles until the next look.
fn window_was_used(ack: &AckSample, cwnd: u32, ssthresh: u32) -> bool {
    ack.cwnd_limited || cwnd < ssthresh && ack.window_used > cwnd / 2
}

/// `cwnd` and `by` bytes more, up to [`MAX_CWND`].
fn grown(cwnd: u32, by: u32) -> u32 {
    cwnd.saturating_add(by).min(MAX_CWND.max(cwnd))
}

#[cfg(test)]
mod tests {
    use super::*;
    use covers::covers;

    /// The table of RFC 6928's formula.
    #[test]
    #[covers("CC-1")]
    fn initial_windows() {
        for (mss, window) in [
            (536, 5360),
            (1220, 12_200),
            (1448, 14_480),
            (1460, 14_600),
            (2190, 14_600),
            (4096, 14_600),
            (8960, 17_920),
        ] {
            assert_eq!(initial_window(mss), window);
        }
    }

    #[test]
    fn no_window_grows_past_the_limit() {
        assert_eq!(grown(MAX_CWND - 1, 5_000), MAX_CWND);
        assert_eq!(grown(MAX_CWND, u32::MAX), MAX_CWND);
    }
}
