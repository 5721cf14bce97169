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

mod bbr;
mod controller;
mod cubic;
mod hystart;
#[cfg(test)]
mod model;
mod reno;
mod sample;
mod usage;
mod window;

pub use bbr::Bbr;
pub use controller::Controller;
pub use cubic::Cubic;
pub use reno::Reno;
pub use sample::{
    AckSample, CongestionEvent, CongestionKind, DeliverySample, LostSample, RateSample, SentSample,
    Setup,
};

pub(crate) use controller::RestingController;
pub(crate) use usage::{RestingUsage, WindowUsage};

use core::fmt;

#[cfg(doc)]
use crate::config::CongestionAlgorithm;

/// No window grows beyond 1 GiB: what window scaling can express (RFC 7323 §2.3).
pub const MAX_CWND: u32 = 1 << 30;

/// What a connection asks of its congestion controller.
///
/// The calls come in this order: [`on_sent`](Self::on_sent) as data leaves; then for each ACK
/// [`on_lost`](Self::on_lost) for what it shows to be lost,
/// [`on_congestion`](Self::on_congestion) or [`on_ack`](Self::on_ack), and
/// [`on_delivered`](Self::on_delivered) last. A timer that judges something lost brings
/// `on_congestion` and `on_lost` without an ACK. [`cwnd`](Self::cwnd) and
/// [`pacing_rate`](Self::pacing_rate) are asked before each transmission.
///
/// An algorithm that models the path from samples (BBR) says so with
/// [`wants_rate_samples`](Self::wants_rate_samples) and lives on `on_sent`, `on_lost` and
/// `on_delivered`; the others need not know of these.
pub trait CongestionController: fmt::Debug + Send {
    /// Whether the connection is to keep what [`on_lost`](Self::on_lost) and
    /// [`on_delivered`](Self::on_delivered) tell: state for each record in flight. Asked once, when
    /// the controller begins.
    fn wants_rate_samples(&self) -> bool {
        false
    }

    /// Data is about to leave: its window and its time have been granted, the time of what follows
    /// it is [`pacing_rate`](Self::pacing_rate)'s after this call.
    fn on_sent(&mut self, _sent: &SentSample) {}

    /// SND.UNA has moved.
    fn on_ack(&mut self, ack: &AckSample);

    /// An ACK was digested, whether it moved SND.UNA or not, in recovery, too. Only for those who
    /// [want samples](Self::wants_rate_samples).
    fn on_delivered(&mut self, _sample: &DeliverySample) {}

    /// A transmission was judged lost. Only for those who
    /// [want samples](Self::wants_rate_samples).
    fn on_lost(&mut self, _lost: &LostSample) {}

    /// The network is congested.
    fn on_congestion(&mut self, event: &CongestionEvent);

    /// The last congestion event was none: back to what was before.
    fn undo(&mut self);

    /// All that was lost has been repaired: an episode that began with
    /// [`on_congestion`](Self::on_congestion) (loss or timeout) is over and was not
    /// [undone](Self::undo).
    fn on_exit_recovery(&mut self) {}

    /// The window was not used: it starts over from here (RFC 5681 §4.1, RFC 7661 §4.4.3).
    fn set_window(&mut self, cwnd: u32, ssthresh: u32);

    /// Whether a window that was not used is taken back by [`set_window`](Self::set_window); not so
    /// for an algorithm that restarts at a rate.
    fn validates_window(&self) -> bool {
        true
    }

    /// The segment size changed.
    fn set_mss(&mut self, mss: u32);

    /// Congestion window, in bytes.
    fn cwnd(&self) -> u32;

    /// Slow-start threshold, in bytes.
    fn ssthresh(&self) -> u32;

    /// Whether proportional rate reduction (RFC 9937) sets the window while losses are repaired;
    /// else [`cwnd`](Self::cwnd) holds then, too.
    fn uses_prr(&self) -> bool {
        true
    }

    /// Bytes per second at which data leaves; `None`: by the connection's own rule, from the window
    /// and the round trip, where pacing is on.
    fn pacing_rate(&self) -> Option<u64> {
        None
    }

    /// Bytes that may leave in one go at the pacing rate; `None`: a millisecond's worth, two
    /// segments at least.
    fn send_quantum(&self) -> Option<u32> {
        None
    }
}

/// IW10 (RFC 6928 §2), in bytes (CC-1).
pub const fn initial_window(mss: u32) -> u32 {
    let ten = 10 * mss;
    let floor = if 2 * mss > 14_600 { 2 * mss } else { 14_600 };
    if ten < floor { ten } else { floor }
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
}
