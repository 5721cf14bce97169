//! What an acceptable ACK does to the sender: what arrived, how long it took, what is lost, how
//! much may be in flight.

use crate::congestion::{CongestionController, CongestionEvent, CongestionKind};
use crate::recovery::{Ack, PrrAck, Response};
use crate::segment::{Options, SackBlocks, Segment, SegmentOptions};
use crate::send::{AckOutcome, Arrived, Fin};
use crate::seq::SeqNum;
use crate::time::Instant;

use super::Connection;
use super::info::Limit;
use super::state::Edge;

impl Connection {
    /// Everything that an ACK says: what arrived, how long it took, what is lost. `ack` may lie
    /// below SND.UNA: then its SACK blocks still count.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        ack: SeqNum,
        seg: &Segment,
        window_changed: bool,
    ) {
        self.check_app_limited();
        let advanced = ack > self.snd.una;
        let in_flight = self.snd.flight.in_flight();
        let recovering = self.recovery.in_recovery(); // the ACK that ends it does not grow cwnd (NR-2)
        let arrived = self.arrived(ack, seg);
        let mut outcome = self.snd.flight.on_ack(now, &arrived);
        let duplicate = ack == self.snd.una
            && self.snd.flight.outstanding() > 0
            && seg.is_empty()
            && !window_changed;
        if duplicate && !self.sack {
            let believed = self.recovery.dup_ack_credit(self.snd.mss);
            let believed = self.snd.flight.on_dup_ack(believed);
            outcome.delivered += believed;
            if let Some(sampler) = self.snd.flight.sampler_mut() {
                sampler.on_dup_ack(now, believed);
            }
        }
        if advanced {
            let end = ack.min(self.snd.buffer.end());
            self.bytes_acked += u64::from(end - self.snd.una);
            self.snd.una = ack;
            self.snd.buffer.advance(end);
        }
        let rtt = outcome.rtt_sample(advanced);
        if let Some(rtt) = rtt {
            self.rtt.on_sample(now, rtt);
        }
        self.stats.on_delivered(&outcome, self.snd.mss, seg);
        let facts = Ack {
            una: self.snd.una,
            nxt: self.snd.nxt,
            advanced,
            duplicate,
            has_sack: !arrived.sack.is_empty(),
            sack: self.sack,
            more_to_send: self.snd.unsent().min(self.snd.usable_window()) > 0,
            mss: self.snd.mss,
            arrived: &arrived,
            outcome: &outcome,
        };
        let repairing = self.recovery.is_repairing();
        let response = self
            .recovery
            .on_ack(now, &facts, &mut self.snd.flight, &self.rtt);
        if repairing && !response.undo && (response.reduce || !self.recovery.is_repairing()) {
            self.cc.on_exit_recovery();
        }
        self.follow(now, response, &outcome, advanced);
        let ecn_echo = self.ecn.is_echo(seg);
        if advanced && !response.reduce && !ecn_echo {
            self.grow_window(now, &outcome, in_flight, recovering, rtt);
        }
        self.tell_delivery(now, &outcome, in_flight, rtt, ecn_echo);
        self.make_room();
        if advanced {
            self.confirm_path(now);
            self.on_una_moved(now);
        }
        self.update_loss_timer(now, advanced);
    }

    fn arrived<'a>(&self, ack: SeqNum, seg: &'a Segment) -> Arrived<'a> {
        const NO_SACK: &SackBlocks = &SackBlocks::new_const();
        let sack = match &seg.options {
            Options::Segment(SegmentOptions { sack, .. }) if self.sack => sack,
            _ => NO_SACK,
        };
        let echo = match (&self.timestamps, seg.options.timestamps()) {
            (Some(ours), Some(got)) if got.tsecr != 0 => Some(got.tsecr.wrapping_sub(ours.offset)),
            _ => None,
        };
        Arrived {
            ack,
            una: self.snd.una.max(ack),
            nxt: self.snd.nxt,
            sack,
            min_rtt: self.rtt.min_rtt(),
            echo,
        }
    }

    /// Does what recovery asks for, and sets the window of its episode.
    pub(super) fn follow(
        &mut self,
        now: Instant,
        response: Response,
        outcome: &AckOutcome,
        advanced: bool,
    ) {
        if outcome.dsack.is_some() {
            self.events.count().dsacks_received += 1;
        }
        if outcome.reordered > 0 {
            self.stats.on_reordering();
            self.events.count().reorderings += 1;
        }
        if response == Response::default() && !self.recovery.is_repairing() {
            return self.tell_losses(now);
        }
        let response = self.excuse_probe(now, response);
        self.count_response(response);
        if response.undo && !self.ecn.take_absorbed() {
            self.cc.undo();
        } else if response.undo {
            self.cc.on_exit_recovery();
        }
        if response.again {
            // What is reduced is what the last reduction left.
            let in_flight = self.snd.flight.outstanding().min(self.cc.ssthresh());
            let kind = CongestionKind::Loss;
            self.ecn.on_reduced(self.snd.nxt);
            self.cc.on_congestion(&CongestionEvent {
                now,
                kind,
                in_flight,
            });
        } else if response.reduce {
            self.on_congestion(now, CongestionKind::Loss);
        }
        self.tell_losses(now);
        let ack = PrrAck {
            sack: self.sack,
            newly: outcome.acked + outcome.sacked,
            delivered: outcome.delivered,
            safe: advanced && !response.lost,
            in_flight: self.snd.flight.in_flight(),
            ssthresh: self.cc.ssthresh().min(self.cc.cwnd()),
            mss: self.snd.mss,
        };
        self.recovery
            .update_window(response.reduce && !response.again, ack, &self.snd.flight);
    }

    fn count_response(&mut self, response: Response) {
        if response.undo {
            self.events.count().undos += 1;
        }
        if response.reduce && !response.again {
            let begun = (self.recovery.in_recovery(), self.sack);
            let tally = self.events.count();
            match begun {
                (true, true) => tally.sack_recoveries += 1,
                (true, false) => tally.reno_recoveries += 1,
                (false, _) => tally.loss_probe_recoveries += 1,
            }
        }
    }

    /// Room for the writer: what was delivered, and a larger buffer.
    pub(super) fn make_room(&mut self) {
        self.grow_send_buffer();
        self.wake_writer();
    }

    /// SND.UNA moved: progress for the timers, and perhaps our FIN is there.
    pub(super) fn on_una_moved(&mut self, now: Instant) {
        let busy = self.snd.flight.outstanding() > 0;
        self.stats.on_busy(now, busy);
        self.stats.on_progress(now);
        if !self.stats.awaits_window() {
            let starved = busy && self.write_blocked && self.snd.unsent() == 0;
            let limit = starved.then_some(Limit::SendBuffer);
            self.stats.on_limited(now, limit);
        }
        self.timers.retransmits = 0;
        self.timers.persist_backoff = 0;
        self.timers.stalled_since = None;
        self.path_trouble = false;
        self.snd.up = self.snd.up.filter(|&up| up > self.snd.una);
        if self.snd.fin == Fin::Sent && self.snd.una == self.snd.end() {
            self.snd.fin = Fin::Acked;
            self.on_edge(now, Edge::FinAcked);
        }
    }
}
