//! The controller of one connection: a built-in algorithm, or somebody else's.

use alloc::boxed::Box;

use super::cubic::RestingCubic;
use super::reno::RestingReno;
use super::{
    AckSample, Bbr, CongestionController, CongestionEvent, Cubic, DeliverySample, LostSample,
    MAX_CWND, Reno, SentSample, Setup,
};
use crate::config::CongestionAlgorithm;

/// The algorithms a connection can run: a `match` for the built-in ones, a vtable for others, and
/// no type parameter to carry.
#[derive(Debug)]
pub enum Controller {
    /// NewReno.
    Reno(Reno),
    /// CUBIC.
    Cubic(Cubic),
    /// BBR, which few connections run: the others stay small.
    Bbr(Box<Bbr>),
    /// Made by [`CustomCongestion::make`](crate::CustomCongestion::make).
    Custom(Box<dyn CongestionController + Send>),
}

impl Controller {
    /// A controller that begins where `setup` says.
    pub fn new(algorithm: CongestionAlgorithm, setup: &Setup) -> Self {
        match algorithm {
            CongestionAlgorithm::Reno => Self::Reno(Reno::new(setup)),
            CongestionAlgorithm::Cubic => Self::Cubic(Cubic::new(setup)),
            CongestionAlgorithm::Bbr => Self::Bbr(Box::new(Bbr::new(setup))),
            CongestionAlgorithm::Custom(custom) => Self::Custom((custom.make)(setup)),
        }
    }
}

/// What lasts of a controller while nothing is in flight; no undo looks back that far.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RestingController {
    Reno(RestingReno),
    Cubic(RestingCubic),
}

impl Controller {
    /// Whether [`Controller::rest`] says all.
    pub(crate) const fn can_rest(&self) -> bool {
        matches!(self, Self::Reno(_) | Self::Cubic(_))
    }

    /// `None` for an algorithm whose state is its own business.
    pub(crate) const fn rest(&self) -> Option<RestingController> {
        match self {
            Self::Reno(reno) => Some(RestingController::Reno(reno.rest())),
            Self::Cubic(cubic) => Some(RestingController::Cubic(cubic.rest())),
            Self::Bbr(_) | Self::Custom(_) => None,
        }
    }

    pub(crate) const fn woken(rest: &RestingController, mss: u32) -> Self {
        match rest {
            RestingController::Reno(rest) => Self::Reno(Reno::woken(rest, mss)),
            RestingController::Cubic(rest) => Self::Cubic(Cubic::woken(rest, mss)),
        }
    }
}

macro_rules! delegate {
    ($self:ident, $cc:ident => $call:expr) => {
        match $self {
            Self::Reno($cc) => $call,
            Self::Cubic($cc) => $call,
            Self::Bbr($cc) => $call,
            Self::Custom($cc) => $call,
        }
    };
}

impl Controller {
    /// The congestion window and the slow-start threshold.
    #[inline]
    pub(crate) fn window(&self) -> (u32, u32) {
        let (cwnd, ssthresh) = delegate!(self, cc => (cc.cwnd(), cc.ssthresh()));
        (cwnd.min(MAX_CWND), ssthresh)
    }
}

impl CongestionController for Controller {
    fn on_sent(&mut self, sent: &SentSample) {
        delegate!(self, cc => cc.on_sent(sent));
    }

    fn on_ack(&mut self, ack: &AckSample) {
        delegate!(self, cc => cc.on_ack(ack));
    }

    fn wants_rate_samples(&self) -> bool {
        delegate!(self, cc => cc.wants_rate_samples())
    }

    fn on_delivered(&mut self, sample: &DeliverySample) {
        delegate!(self, cc => cc.on_delivered(sample));
    }

    fn on_lost(&mut self, lost: &LostSample) {
        delegate!(self, cc => cc.on_lost(lost));
    }

    fn on_congestion(&mut self, event: &CongestionEvent) {
        delegate!(self, cc => cc.on_congestion(event));
    }

    fn undo(&mut self) {
        delegate!(self, cc => cc.undo());
    }

    fn on_exit_recovery(&mut self) {
        delegate!(self, cc => cc.on_exit_recovery());
    }

    fn validates_window(&self) -> bool {
        delegate!(self, cc => cc.validates_window())
    }

    fn set_window(&mut self, cwnd: u32, ssthresh: u32) {
        delegate!(self, cc => cc.set_window(cwnd, ssthresh));
    }

    fn set_mss(&mut self, mss: u32) {
        delegate!(self, cc => cc.set_mss(mss));
    }

    /// At most [`MAX_CWND`], whatever the algorithm thinks.
    fn cwnd(&self) -> u32 {
        delegate!(self, cc => cc.cwnd()).min(MAX_CWND)
    }

    fn ssthresh(&self) -> u32 {
        delegate!(self, cc => cc.ssthresh())
    }

    fn uses_prr(&self) -> bool {
        delegate!(self, cc => cc.uses_prr())
    }

    fn pacing_rate(&self) -> Option<u64> {
        delegate!(self, cc => cc.pacing_rate())
    }

    fn send_quantum(&self) -> Option<u32> {
        delegate!(self, cc => cc.send_quantum())
    }
}
