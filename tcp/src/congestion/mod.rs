//! Congestion control: how much may be in flight.
//!
//! A controller sees samples, never the connection: it owns cwnd and ssthresh and nothing else.
//! Windows are bytes. What is lost, and when it is sent again, is `recovery`'s business.

mod cubic;
#[cfg(test)]
mod model;
mod reno;

pub use cubic::Cubic;
pub use reno::Reno;

use crate::config::CongestionAlgorithm;
use crate::time::{Duration, Instant};

/// An ACK that moved SND.UNA.
#[derive(Clone, Copy, Debug)]
pub struct AckSample {
    /// When it arrived.
    pub now: Instant,
    /// Bytes it newly acknowledged, cumulatively or by SACK.
    pub acked: u32,
    /// Bytes in flight before it.
    pub in_flight: u32,
    /// The sender had more to send and cwnd stopped it.
    pub cwnd_limited: bool,
    /// Smoothed round trip.
    pub srtt: Option<Duration>,
    /// Losses are being repaired: the window stands still.
    pub in_recovery: bool,
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
    /// FlightSize (RFC 5681 §2), in bytes.
    pub in_flight: u32,
}

/// What a connection asks of its congestion controller.
pub trait CongestionController {
    /// Data was acknowledged.
    fn on_ack(&mut self, ack: &AckSample);

    /// The network is congested.
    fn on_congestion(&mut self, event: &CongestionEvent);

    /// The last congestion event was none: back to what was before.
    fn undo(&mut self);

    /// Nothing was sent for longer than the RTO (RFC 5681 §4.1).
    fn on_idle_restart(&mut self, initial_window: u32);

    /// The segment size changed.
    fn set_mss(&mut self, mss: u32);

    /// Congestion window, in bytes.
    fn cwnd(&self) -> u32;

    /// Slow-start threshold, in bytes.
    fn ssthresh(&self) -> u32;
}

/// The algorithms a connection can run. A `match`, not a vtable, and no type parameter to carry.
#[derive(Clone, Debug)]
pub enum Controller {
    /// NewReno.
    Reno(Reno),
    /// CUBIC.
    Cubic(Cubic),
}

impl Controller {
    /// A controller for segments of `mss` bytes that begins with `initial_window`.
    pub const fn new(algorithm: CongestionAlgorithm, mss: u32, initial_window: u32) -> Self {
        match algorithm {
            CongestionAlgorithm::Reno => Self::Reno(Reno::new(mss, initial_window)),
            CongestionAlgorithm::Cubic => Self::Cubic(Cubic::new(mss, initial_window)),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $cc:ident => $call:expr) => {
        match $self {
            Self::Reno($cc) => $call,
            Self::Cubic($cc) => $call,
        }
    };
}

impl CongestionController for Controller {
    fn on_ack(&mut self, ack: &AckSample) {
        delegate!(self, cc => cc.on_ack(ack));
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        delegate!(self, cc => cc.on_congestion(event));
    }

    fn undo(&mut self) {
        delegate!(self, cc => cc.undo());
    }

    fn on_idle_restart(&mut self, initial_window: u32) {
        delegate!(self, cc => cc.on_idle_restart(initial_window));
    }

    fn set_mss(&mut self, mss: u32) {
        delegate!(self, cc => cc.set_mss(mss));
    }

    fn cwnd(&self) -> u32 {
        delegate!(self, cc => cc.cwnd())
    }

    fn ssthresh(&self) -> u32 {
        delegate!(self, cc => cc.ssthresh())
    }
}

/// IW10 (RFC 6928 §2), in bytes.
pub const fn initial_window(mss: u32) -> u32 {
    let ten = 10 * mss;
    let floor = if 2 * mss > 14_600 { 2 * mss } else { 14_600 };
    if ten < floor { ten } else { floor }
}

/// Slow start and congestion avoidance both ask whether the window was used (RFC 7661): in slow
/// start it counts as used from half of it on, since it doubles until the next look.
fn window_was_used(ack: &AckSample, cwnd: u32, ssthresh: u32) -> bool {
    ack.cwnd_limited || cwnd < ssthresh && ack.in_flight >= cwnd / 2
}

/// Slow start (RFC 5681 §3.1) up to `ssthresh`; returns the acknowledged bytes beyond it. There
/// is no cap per ACK: a GRO peer acknowledges 64 KiB at once.
fn slow_start(cwnd: &mut u32, ssthresh: u32, acked: u32) -> u32 {
    if *cwnd >= ssthresh {
        return acked;
    }
    let used = acked.min(ssthresh - *cwnd);
    *cwnd += used;
    acked - used
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
            (8960, 17_920),
        ] {
            assert_eq!(initial_window(mss), window);
        }
    }

    #[test]
    fn slow_start_stops_at_the_threshold() {
        let mut cwnd = 10_000;
        assert_eq!(slow_start(&mut cwnd, 12_000, 5_000), 3_000);
        assert_eq!(cwnd, 12_000);
    }
}
