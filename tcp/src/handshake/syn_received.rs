//! SYN-RECEIVED: a SYN that was answered, or waits for its answer (RFC 9293 §3.10.7.4).

use core::num::NonZeroU16;

use bytes::Bytes;

use crate::config::Config;
use crate::connection::{Negotiated, OUT_OF_WINDOW_PERIOD};
use crate::endpoint::{ListenerId, TimeWait};
use crate::error::Dropped;
use crate::observe::{AckWhy, Why};
use crate::outlet::Outlet;
use crate::segment::{FastOpen, Flags, Options, Segment, SegmentOptions, Timestamps};
use crate::seq::{SeqNum, WindowScale, WireSeq, WireWindow};
use crate::time::{Duration, Instant};

use super::{Ours, PeerSyn, Syn, reset};

/// A SYN that was answered, or is held until somebody says how to answer it.
#[derive(Debug)]
pub(crate) struct SynReceived {
    pub(crate) ours: Ours,
    /// Whose backlog it counts against; `None` after a simultaneous open (MUST-11).
    pub(crate) listener: Option<ListenerId>,
    pub(crate) peer: PeerSyn,
    /// No answer leaves until [`Tcp::decide`](crate::Tcp::decide).
    pub(crate) held: bool,
    /// The connection in TIME-WAIT whose place it took: the SYN may still turn out to be an old
    /// duplicate (MAY-2).
    pub(crate) time_wait: Option<TimeWait>,
    /// Bytes of the SYN that were taken, and the cookie that its answer brings (RFC 7413 §4.2.2).
    fast_open: Option<(u32, Option<FastOpen>)>,
    ack_due: bool,
    /// When a segment without text was answered last.
    answered_at: Option<Instant>,
}

/// What a segment makes of [`SynReceived`].
#[derive(Debug)]
pub(crate) enum SynReceivedOutcome {
    /// Nothing to tell; perhaps our SYN,ACK goes out again.
    Noted,
    /// The handshake could be complete, but the listener waits for data.
    Deferred,
    /// Nothing, or nothing but an ACK that falls due.
    Drop(Dropped),
    /// The answer it deserves.
    Reply(Segment<()>),
    /// The peer changed its mind.
    Reset,
    /// The handshake is complete by what was acknowledged, with that many bytes to spare: for
    /// [`SynReceived::settle`]. The segment itself is still to be processed.
    Connected(WireSeq, u32),
}

impl SynReceived {
    pub(crate) const fn new(
        ours: Ours,
        listener: Option<ListenerId>,
        peer: PeerSyn,
        held: bool,
    ) -> Self {
        Self {
            ours,
            listener,
            peer,
            held,
            time_wait: None,
            fast_open: None,
            ack_due: false,
            answered_at: None,
        }
    }

    /// Returns `cookie` with the SYN,ACK, which acknowledges `taken` bytes that the SYN brought.
    pub(crate) const fn with_fast_open(mut self, taken: u32, cookie: Option<FastOpen>) -> Self {
        self.fast_open = Some((taken, cookie));
        self
    }

    /// RFC 9293 §3.10.7.4 as far as SYN-RECEIVED goes. `snd_nxt`: what an ACK may reach.
    pub(crate) fn on_segment(
        &mut self,
        now: Instant,
        config: &Config,
        seg: &Segment,
        snd_nxt: WireSeq,
    ) -> SynReceivedOutcome {
        if self.held {
            let reset = seg.has(Flags::RST) && seg.seq == self.rcv_nxt();
            return if reset {
                SynReceivedOutcome::Reset
            } else {
                SynReceivedOutcome::Noted
            };
        }
        let ack_acceptable = self.acks_something(seg.ack, snd_nxt);
        if seg.has(Flags::SYN) && !seg.has(Flags::RST) {
            // MUST-10: the peer's SYN,ACK has crossed ours.
            if seg.seq == self.peer.irs && seg.has(Flags::ACK) && ack_acceptable {
                return SynReceivedOutcome::Connected(seg.ack, self.peer.wnd);
            }
            return self.on_syn(now, config, seg);
        }
        if let Err(dropped) = self.check_sequence(now, config, seg) {
            return SynReceivedOutcome::Drop(dropped);
        }
        if seg.has(Flags::RST) {
            // RFC 5961 §3.2: only the exact number counts.
            if seg.seq == self.rcv_nxt() {
                return SynReceivedOutcome::Reset;
            }
            self.owe_ack(now, seg);
            return SynReceivedOutcome::Drop(Dropped::BlindReset);
        }
        if !seg.has(Flags::ACK) {
            return SynReceivedOutcome::Drop(Dropped::NoAck);
        }
        if !ack_acceptable {
            return SynReceivedOutcome::Reply(reset(seg.ack, None)); // SM-7
        }
        if self.is_deferred(now) && seg.is_empty() && self.listener.is_some() {
            self.ours
                .repeat
                .defer(self.ours.options.defer_accept.unwrap_or_default());
            return SynReceivedOutcome::Deferred;
        }
        let wnd = seg
            .window
            .bytes(self.peer.options.window_scale.unwrap_or_default());
        SynReceivedOutcome::Connected(seg.ack, wnd)
    }

    /// Our SYN,ACK was lost (SM-16), or the peer begins anew (fourth of RFC 9293 §3.10.7.4), or the
    /// SYN is a stranger (RFC 5961 §4.2).
    fn on_syn(&mut self, now: Instant, config: &Config, seg: &Segment) -> SynReceivedOutcome {
        if seg.seq != self.peer.irs || seg.has(Flags::ACK) {
            let nxt = SeqNum::first(self.rcv_nxt());
            let seq = nxt.expand(seg.seq);
            let in_window = nxt <= seq && seq < nxt + self.window(config);
            // What Fast Open has delivered is not taken back.
            let nothing_taken = self.fast_open.is_none_or(|(taken, _)| taken == 0);
            if in_window && self.listener.is_some() && nothing_taken {
                return SynReceivedOutcome::Reset;
            }
            self.owe_ack(now, seg);
            return SynReceivedOutcome::Drop(Dropped::BlindSyn);
        }
        self.ours.repeat.due = true;
        // RFC 3168 §6.1.1: one SYN without is a no.
        self.peer.ecn &= seg.has(Flags::ECE | Flags::CWR);
        if self.peer.options.timestamps.is_some() {
            let again = seg.options.timestamps();
            self.peer.options.timestamps = again.or(self.peer.options.timestamps);
        }
        SynReceivedOutcome::Noted
    }

    /// First of RFC 9293 §3.10.7.4, with PAWS before it (RFC 7323 §5.3).
    fn check_sequence(
        &mut self,
        now: Instant,
        config: &Config,
        seg: &Segment,
    ) -> Result<(), Dropped> {
        let nxt = SeqNum::first(self.rcv_nxt());
        let seq = nxt.expand(seg.seq);
        let right = nxt + self.window(config);
        if let Some(first) = self.peer.options.timestamps
            && !seg.has(Flags::RST)
        {
            match seg.options.timestamps() {
                None if config.timestamps_required => return Err(Dropped::NoTimestamp), // TS-8
                Some(got) if (got.tsval.wrapping_sub(first.tsval) as i32) < 0 => {
                    self.owe_ack(now, seg);
                    return Err(Dropped::StaleTimestamp);
                }
                _ => {}
            }
        }
        let acceptable = if seg.is_empty() {
            nxt <= seq && seq < right || seq == nxt
        } else {
            seq + seg.len() > nxt && seq < right
        };
        if acceptable {
            return Ok(());
        }
        if seg.has(Flags::RST) {
            return Err(Dropped::BadReset);
        }
        self.owe_ack(now, seg);
        Err(Dropped::OutOfWindow)
    }

    fn acks_something(&self, ack: WireSeq, snd_nxt: WireSeq) -> bool {
        let una = SeqNum::first(self.ours.iss);
        let (ack, nxt) = (una.expand(ack), una.expand(snd_nxt));
        una < ack && ack <= nxt || self.ours.acks_syn(ack.wire())
    }

    /// Owes an ACK; segments without text are answered twice a second at most.
    fn owe_ack(&mut self, now: Instant, seg: &Segment) {
        let text = !seg.payload.is_empty() || seg.has(Flags::FIN);
        let recently = |at| now - at < OUT_OF_WINDOW_PERIOD;
        if text || !self.answered_at.is_some_and(recently) {
            self.ack_due = true;
            self.answered_at = Some(now);
        }
    }

    /// The ACK that is owed, for whoever sends it in the handshake's place.
    pub(crate) const fn take_owed_ack(&mut self) -> bool {
        core::mem::replace(&mut self.ack_due, false)
    }

    /// Whether a listener still waits for data rather than an open connection
    /// (`TCP_DEFER_ACCEPT`).
    fn is_deferred(&self, now: Instant) -> bool {
        let age = self.ours.repeat.age(now);
        let wait = self.ours.options.defer_accept;
        wait.is_some_and(|wait| age < wait)
    }

    /// What both ends can do, once [`SynReceivedOutcome::Connected`] says so.
    pub(crate) fn settle(
        &self,
        now: Instant,
        config: &Config,
        ack: WireSeq,
        wnd: u32,
    ) -> Negotiated {
        self.ours
            .settle(now, config, &self.peer, (ack, wnd), self.listener)
    }

    /// The connection that a valid Fast Open cookie opens before the handshake is complete
    /// (RFC 7413 §4.2.2).
    pub(crate) fn fast_opened(&self, now: Instant, config: &Config) -> Negotiated {
        self.settle(now, config, self.snd_nxt(), self.peer.wnd)
    }

    /// The number that follows our SYN.
    pub(crate) const fn snd_nxt(&self) -> WireSeq {
        self.ours.iss.wrapping_add(1)
    }

    /// What our SYN,ACK acknowledges.
    pub(crate) fn rcv_nxt(&self) -> WireSeq {
        self.peer.irs.wrapping_add(1 + self.taken())
    }

    fn taken(&self) -> u32 {
        self.fast_open.map_or(0, |(taken, _)| taken)
    }

    fn window(&self, config: &Config) -> u32 {
        self.ours.window(config).saturating_sub(self.taken())
    }

    pub(crate) const fn is_due(&self) -> bool {
        !self.held && (self.ours.repeat.due || self.ack_due)
    }

    /// What is due to be sent was sent before.
    pub(crate) const fn is_repeated(&self) -> bool {
        self.ours.repeat.due && !self.ours.repeat.is_first()
    }

    pub(crate) fn send(&mut self, now: Instant, config: &Config, tx: &mut impl Outlet) {
        let window = self.window(config);
        if self.ours.repeat.due {
            let syn = Syn {
                answers: Some((self.rcv_nxt(), &self.peer)),
                // RFC 3168 §6.1.1: ECE alone makes it an ECN-setup SYN,ACK.
                ecn: if self.peer.ecn {
                    Flags::ECE
                } else {
                    Flags::NONE
                },
                fast_open: self.fast_open.and_then(|(_, cookie)| cookie),
                window,
            };
            self.ours.send_syn(now, config, &syn, Bytes::new(), tx);
        }
        if core::mem::take(&mut self.ack_due) {
            let ack = self.ack(now, config);
            let why = Why::Ack(AckWhy::OutOfWindow);
            self.ours.push(&ack, Bytes::new(), why, tx);
        }
    }

    fn ack(&self, now: Instant, config: &Config) -> Segment<()> {
        let timestamps = self.peer.options.timestamps.map(|theirs| Timestamps {
            tsval: self.ours.tsval(now),
            tsecr: theirs.tsval,
        });
        // Every segment but a SYN is scaled (RFC 7323 §2.2, TS-2).
        let scaled = self.peer.options.window_scale.is_some();
        let scale = if scaled {
            self.ours.scale(config)
        } else {
            WindowScale::default()
        };
        Segment {
            seq: self.snd_nxt(),
            ack: self.rcv_nxt(),
            window: WireWindow::from_bytes(self.window(config), scale),
            flags: Flags::ACK,
            options: Options::Segment(SegmentOptions {
                timestamps,
                ..Default::default()
            }),
            payload: (),
            urgent: 0,
            mss: NonZeroU16::MIN,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.held {
            None
        } else {
            self.ours.repeat.deadline(self.user_timeout())
        }
    }

    /// The application's limit holds for what it opened itself (MUST-21).
    fn user_timeout(&self) -> Option<Duration> {
        let limit = self.ours.options.user_timeout();
        limit.filter(|_| self.listener.is_none())
    }

    /// True when the SYN,ACK has been sent often enough (SY-4, MUST-23).
    pub(crate) fn on_timeout(&mut self, now: Instant, config: &Config) -> bool {
        let retries = match (self.listener, self.ours.options.syn_retries) {
            (Some(_), _) => config.synack_retries,
            (None, own) => own.unwrap_or(config.syn_retries),
        };
        let limit = self.user_timeout();
        self.ours.repeat.on_timeout(now, retries, limit)
    }

    /// The RST that refuses a held SYN (RFC 9293 §3.10.7.1), or takes back the SYN,ACK.
    pub(crate) fn refusal(&self) -> Segment<()> {
        let seq = if self.held {
            WireSeq(0)
        } else {
            self.snd_nxt()
        };
        reset(seq, Some(self.rcv_nxt()))
    }
}
