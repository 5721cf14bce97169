//! SYN-SENT: an active open under way (RFC 9293 §3.10.7.3).

use alloc::boxed::Box;

use crate::config::Config;
use crate::connection::Negotiated;
use crate::segment::{Flags, Options, Segment, SynOptions, Transmit};
use crate::seq::WireSeq;
use crate::time::Instant;

use super::{Ours, reset};

/// An active open under way.
#[derive(Debug)]
pub(crate) struct SynSent {
    pub(crate) ours: Ours,
    /// ICMP called the peer unreachable; told to the application if nothing better comes.
    pub(crate) soft_error: bool,
}

/// What a segment makes of [`SynSent`].
#[derive(Debug)]
pub(crate) enum SynSentOutcome {
    /// Nothing.
    Ignore,
    /// The answer it deserves.
    Reply(Segment<()>),
    /// The peer refuses.
    Refused,
    /// The handshake is complete.
    Connected(Box<Negotiated>),
    /// Both ends opened at once.
    SimultaneousOpen(WireSeq, SynOptions, u32),
}

impl SynSent {
    pub(crate) const fn new(ours: Ours) -> Self {
        Self {
            ours,
            soft_error: false,
        }
    }

    /// RFC 9293 §3.10.7.3.
    pub(crate) fn on_segment(
        &self,
        now: Instant,
        config: &Config,
        seg: &Segment,
    ) -> SynSentOutcome {
        let ack_acceptable = seg.ack == self.ours.iss.wrapping_add(1);
        if seg.has(Flags::ACK) && !ack_acceptable {
            return if seg.has(Flags::RST) {
                SynSentOutcome::Ignore
            } else {
                SynSentOutcome::Reply(reset(seg.ack, None))
            };
        }
        if seg.has(Flags::RST) {
            return if seg.has(Flags::ACK) {
                SynSentOutcome::Refused
            } else {
                SynSentOutcome::Ignore
            };
        }
        let (true, Options::Syn(peer)) = (seg.has(Flags::SYN), &seg.options) else {
            return SynSentOutcome::Ignore;
        };
        let wnd = u32::from(seg.window.0);
        if seg.has(Flags::ACK) {
            let settled = self.ours.settle(now, config, seg.seq, *peer, wnd, None);
            SynSentOutcome::Connected(Box::new(settled))
        } else {
            SynSentOutcome::SimultaneousOpen(seg.seq, *peer, wnd)
        }
    }

    pub(crate) const fn is_due(&self) -> bool {
        self.ours.repeat.due
    }

    pub(crate) fn send(&mut self, now: Instant, config: &Config, tx: &mut impl Transmit) {
        self.ours.send_syn(now, config, None, tx);
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.ours.repeat.deadline
    }

    /// True when the peer has been asked often enough (MUST-23).
    pub(crate) fn on_timeout(&mut self, now: Instant, config: &Config) -> bool {
        self.ours.repeat.on_timeout(now, config.syn_retries)
    }
}
