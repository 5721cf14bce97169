//! What a connection tells a congestion controller that models the path: deliveries with their
//! rate, losses one by one, and when the application ran dry (draft-ietf-ccwg-bbr §4.1).

use crate::congestion::{CongestionController, DeliverySample};
use crate::send::AckOutcome;
use crate::time::{Duration, Instant};

use super::Connection;

impl Connection {
    /// Notes when nothing is there to be sent although the window has room
    /// (`CheckIfApplicationLimited`): asked before each write, ACK and timeout.
    pub(super) fn check_app_limited(&mut self) {
        if self.snd.flight.sampler().is_none() {
            return;
        }
        let in_flight = self.snd.flight.in_flight();
        let dry = self.snd.unsent() < self.snd.mss && self.snd.flight.lost() == 0;
        if dry
            && in_flight < self.cwnd()
            && let Some(sampler) = self.snd.flight.sampler_mut()
        {
            sampler.on_app_limited(in_flight);
        }
    }

    /// Tells what was judged lost since the last time.
    pub(super) fn tell_losses(&mut self, now: Instant) {
        let in_flight = self.snd.flight.in_flight();
        let Some(sampler) = self.snd.flight.sampler_mut() else {
            return;
        };
        while let Some(lost) = sampler.next_loss(now, in_flight) {
            self.cc.on_lost(&lost);
        }
    }

    /// Tells what an ACK has delivered; before it, `prior_in_flight` bytes were in flight.
    pub(super) fn tell_delivery(
        &mut self,
        now: Instant,
        outcome: &AckOutcome,
        prior_in_flight: u32,
        rtt: Option<Duration>,
        ecn_echo: bool,
    ) {
        let (cwnd_limited, in_recovery) =
            (self.snd.usage.cwnd_limited(), self.recovery.is_repairing());
        let in_flight = self.snd.flight.in_flight();
        let Some(sampler) = self.snd.flight.sampler_mut() else {
            return;
        };
        let rate = sampler.sample(self.rtt.min_rtt());
        let (delivered, lost) = sampler.totals();
        let newly_acked = outcome.delivered;
        self.cc.on_delivered(&DeliverySample {
            now,
            newly_acked,
            newly_lost: sampler.newly_lost(),
            delivered,
            lost,
            prior_in_flight,
            in_flight,
            rtt: rtt.or(outcome.first_sent_rtt()),
            srtt: self.rtt.srtt(),
            rate,
            ecn_ce: if ecn_echo { newly_acked } else { 0 },
            in_recovery,
            cwnd_limited,
            app_limited: sampler.is_app_limited(),
        });
    }
}
