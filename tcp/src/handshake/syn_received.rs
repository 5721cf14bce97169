//! SYN-RECEIVED: a SYN that was answered, or waits for its answer (RFC 9293 §3.10.7.4).

use core::num::NonZeroU16;

use alloc::boxed::Box;

use crate::config::Config;
use crate::connection::Negotiated;
use crate::endpoint::ListenerId;
use crate::segment::{Flags, Options, Segment, SegmentOptions, SynOptions, Timestamps, Transmit};
use crate::seq::{SeqNum, WindowScale, WireSeq, WireWindow};
use crate::time::Instant;

use super::{Ours, reset};

/// A SYN that was answered, or is held until somebody says how to answer it.
#[derive(Debug)]
pub(crate) struct SynReceived {
    pub(crate) ours: Ours,
    /// Whose backlog it counts against; `None` after a simultaneous open (MUST-11).
    pub(crate) listener: Option<ListenerId>,
    pub(crate) irs: WireSeq,
    peer: SynOptions,
    /// The window of the peer's SYN.
    wnd: u32,
    /// No answer leaves until [`Tcp::decide`](crate::Tcp::decide).
    pub(crate) held: bool,
    ack_due: bool,
}

/// What a segment makes of [`SynReceived`].
#[derive(Debug)]
pub(crate) enum SynReceivedOutcome {
    /// Nothing, or nothing but an answer that falls due.
    Ignore,
    /// The answer it deserves.
    Reply(Segment<()>),
    /// The peer changed its mind.
    Reset,
    /// The handshake is complete; the segment itself is still to be processed.
    Connected(Box<Negotiated>),
}

impl SynReceived {
    pub(crate) fn new(
        ours: Ours,
        listener: Option<ListenerId>,
        irs: WireSeq,
        peer: SynOptions,
        wnd: u32,
        held: bool,
    ) -> Self {
        Self {
            ours,
            listener,
            irs,
            peer,
            wnd,
            held,
            ack_due: false,
        }
    }

    /// RFC 9293 §3.10.7.4 as far as SYN-RECEIVED goes.
    pub(crate) fn on_segment(
        &mut self,
        now: Instant,
        config: &Config,
        seg: &Segment,
    ) -> SynReceivedOutcome {
        let nxt = SeqNum::first(self.irs) + 1u32;
        let seq = nxt.expand(seg.seq);
        if seg.has(Flags::RST) {
            // RFC 5961 §3.2: only the exact number counts.
            return if seq == nxt {
                SynReceivedOutcome::Reset
            } else {
                SynReceivedOutcome::Ignore
            };
        }
        if self.held {
            return SynReceivedOutcome::Ignore;
        }
        if seg.has(Flags::SYN) && !seg.has(Flags::ACK) {
            self.ours.repeat.due = true; // SM-16: our SYN,ACK was lost
            if seg.seq == self.irs && self.peer.timestamps.is_some() {
                let again = seg.options.timestamps();
                self.peer.timestamps = again.or(self.peer.timestamps);
            }
            return SynReceivedOutcome::Ignore;
        }
        if seg.has(Flags::SYN) && seg.seq != self.irs {
            self.ack_due = true; // RFC 5961 §4.2
            return SynReceivedOutcome::Ignore;
        }
        if !seg.has(Flags::ACK) {
            return SynReceivedOutcome::Ignore;
        }
        if seg.ack != self.ours.iss.wrapping_add(1) {
            return SynReceivedOutcome::Reply(reset(seg.ack, None)); // SM-7
        }
        let right = nxt + self.ours.window(config);
        let stale = match (self.peer.timestamps, seg.options.timestamps()) {
            (Some(first), Some(now)) => (now.tsval.wrapping_sub(first.tsval) as i32) < 0,
            _ => false,
        };
        let simultaneous = seg.has(Flags::SYN);
        if !simultaneous && (stale || seq + seg.len() < nxt || seq > right) {
            self.ack_due = true;
            return SynReceivedOutcome::Ignore;
        }
        let scale = self.peer.window_scale.unwrap_or_default();
        let wnd = if simultaneous {
            self.wnd
        } else {
            seg.window.bytes(scale)
        };
        let settled = self
            .ours
            .settle(now, config, self.irs, self.peer, wnd, self.listener);
        SynReceivedOutcome::Connected(Box::new(settled))
    }

    pub(crate) const fn is_due(&self) -> bool {
        !self.held && (self.ours.repeat.due || self.ack_due)
    }

    pub(crate) fn send(&mut self, now: Instant, config: &Config, tx: &mut impl Transmit) {
        if self.ours.repeat.due {
            self.ours
                .send_syn(now, config, Some((self.irs, &self.peer)), tx);
        }
        if core::mem::take(&mut self.ack_due) {
            let timestamps = self.peer.timestamps.map(|theirs| Timestamps {
                tsval: self.ours.tsval(now),
                tsecr: theirs.tsval,
            });
            let segment = Segment {
                seq: self.ours.iss.wrapping_add(1),
                ack: self.irs.wrapping_add(1),
                window: WireWindow::from_bytes(self.ours.window(config), WindowScale::default()),
                flags: Flags::ACK,
                options: Options::Segment(SegmentOptions {
                    timestamps,
                    ..Default::default()
                }),
                payload: (),
                urgent: 0,
                mss: NonZeroU16::MIN,
            };
            self.ours.push(&segment, tx);
        }
    }

    pub(crate) const fn deadline(&self) -> Option<Instant> {
        if self.held {
            None
        } else {
            self.ours.repeat.deadline
        }
    }

    /// True when the SYN,ACK has been sent often enough (SY-4).
    pub(crate) fn on_timeout(&mut self, now: Instant, config: &Config) -> bool {
        let retries = if self.listener.is_some() {
            config.synack_retries
        } else {
            config.syn_retries
        };
        self.ours.repeat.on_timeout(now, retries)
    }

    /// The RST that refuses a held SYN (RFC 9293 §3.10.7.1), or takes back the SYN,ACK.
    pub(crate) fn refusal(&self) -> Segment<()> {
        let seq = if self.held {
            WireSeq(0)
        } else {
            self.ours.iss.wrapping_add(1)
        };
        reset(seq, Some(self.irs.wrapping_add(1)))
    }
}
