//! SYN-SENT: an active open under way (RFC 9293 §3.10.7.3).

use alloc::boxed::Box;

use bytes::Bytes;

use crate::config::{Config, EcnMode};
use crate::connection::{Negotiated, header_overhead};
use crate::outlet::Outlet;
use crate::segment::{FastOpen, Flags, FlowKey, Options, Segment};
use crate::time::Instant;

use super::{FastOpenRequest, Ours, PeerSyn, Syn, reset};

/// Bytes of options that a TCP header has room for.
const MAX_OPTIONS: usize = 40;

/// An active open under way.
#[derive(Debug)]
pub(crate) struct SynSent {
    pub(crate) ours: Ours,
    /// ICMP called the peer unreachable; told to the application if nothing better comes.
    pub(crate) soft_error: bool,
    /// The SYN that is out asks for ECN.
    ecn: bool,
    /// What the first SYN says of Fast Open.
    fast_open: Option<FastOpenRequest>,
    /// Neither ECN nor Fast Open any more: something on the path dislikes them.
    plain: bool,
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
    /// It may be ECN that is refused: the SYN goes out again without (RFC 3168 §6.1.1.1).
    Retry,
    /// The handshake is complete; the Fast Open option of the SYN,ACK.
    Connected(Box<Negotiated>, Option<FastOpen>),
    /// Both ends opened at once.
    SimultaneousOpen(PeerSyn),
}

impl SynSent {
    pub(crate) const fn new(ours: Ours, fast_open: Option<FastOpenRequest>) -> Self {
        Self {
            ours,
            soft_error: false,
            ecn: false,
            fast_open,
            plain: false,
        }
    }

    /// RFC 9293 §3.10.7.3.
    pub(crate) fn on_segment(
        &mut self,
        now: Instant,
        config: &Config,
        seg: &Segment,
    ) -> SynSentOutcome {
        if seg.has(Flags::ACK) && !self.ours.acks_syn(seg.ack) {
            return if seg.has(Flags::RST) {
                SynSentOutcome::Ignore
            } else {
                SynSentOutcome::Reply(reset(seg.ack, None))
            };
        }
        if seg.has(Flags::RST) {
            return match (seg.has(Flags::ACK), self.ecn) {
                (false, _) => SynSentOutcome::Ignore,
                (true, false) => SynSentOutcome::Refused,
                (true, true) => {
                    self.fall_back();
                    SynSentOutcome::Retry
                }
            };
        }
        let (true, Options::Syn(options)) = (seg.has(Flags::SYN), &seg.options) else {
            return SynSentOutcome::Ignore;
        };
        let mut peer = PeerSyn::new(seg, *options, config);
        if !seg.has(Flags::ACK) {
            // RFC 3168 §6.1.1: nobody uses ECN who has sent a SYN without.
            peer.ecn &= self.ecn;
            return SynSentOutcome::SimultaneousOpen(peer);
        }
        // EC-1: ECE alone says yes; both flags are our own, reflected.
        peer.ecn = self.ecn && seg.has(Flags::ECE) && !seg.has(Flags::CWR);
        let settled = self
            .ours
            .settle(now, config, &peer, (seg.ack, peer.wnd), None);
        SynSentOutcome::Connected(Box::new(settled), options.fast_open)
    }

    pub(crate) const fn is_due(&self) -> bool {
        self.ours.repeat.due
    }

    /// What is due to be sent was sent before.
    pub(crate) const fn is_repeated(&self) -> bool {
        !self.ours.repeat.is_first()
    }

    pub(crate) fn send(&mut self, now: Instant, config: &Config, tx: &mut impl Outlet) {
        // A SYN sent again is bare: RFC 3168 §6.1.1.1 (EC-9), RFC 7413 §4.2.1 (TF-5).
        let fancy = self.ours.repeat.is_first() && !self.plain;
        self.ecn = fancy && config.ecn == EcnMode::On;
        let request = self.fast_open.filter(|_| fancy);
        let fast_open = request.map(FastOpenRequest::option);
        let syn = Syn {
            answers: None,
            ecn: if self.ecn {
                Flags::ECE | Flags::CWR
            } else {
                Flags::NONE
            },
            fast_open,
            window: self.ours.window(config),
        };
        let data = match request {
            Some(FastOpenRequest::Cookie { mss, .. }) => {
                let mss = self.ours.options.clamp_mss(mss);
                let room = syn_data_room(config, &self.ours.flow, mss);
                self.ours.data.slice(..room.min(self.ours.data.len()))
            }
            _ => Bytes::new(),
        };
        self.ours.syn_data = self.ours.syn_data.max(data.len() as u32);
        self.ours.send_syn(now, config, &syn, data, tx);
    }

    /// Sends the SYN again at once, bare.
    fn fall_back(&mut self) {
        self.plain = true;
        self.ours.repeat.due = true;
    }

    /// The path is too narrow for what is out: a SYN with data goes again without (RFC 7413
    /// §4.1.3); a bare SYN fits any path. True when something is to be sent.
    pub(crate) fn on_packet_too_big(&mut self) -> bool {
        let with_data = self.ours.syn_data > 0 && !self.plain;
        if with_data && self.ours.repeat.retransmits() == 0 {
            self.fall_back();
        }
        with_data
    }

    /// Whether Fast Open was tried, and whether its first SYN went unanswered.
    pub(crate) const fn fast_open_tried(&self) -> (bool, bool) {
        let tried = self.fast_open.is_some();
        (tried, tried && self.ours.repeat.retransmits() > 0)
    }

    /// Bytes that went out with the SYN.
    pub(crate) const fn syn_data(&self) -> u32 {
        self.ours.syn_data
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ours.repeat.deadline(self.ours.options.user_timeout())
    }

    /// True when the peer has been asked often enough (MUST-23), or for as long as the
    /// application waits (MUST-21).
    pub(crate) fn on_timeout(&mut self, now: Instant, config: &Config) -> bool {
        let options = &self.ours.options;
        let retries = options.syn_retries.unwrap_or(config.syn_retries);
        let limit = options.user_timeout();
        self.ours.repeat.on_timeout(now, retries, limit)
    }
}

/// Bytes that fit a SYN: the peer's MSS and our MTU, less all the options there can be
/// (RFC 7413 §4.2.1): middleboxes add some, and should not have to drop it.
pub(crate) fn syn_data_room(config: &Config, flow: &FlowKey, peer_mss: u16) -> usize {
    let path = config.mtu.saturating_sub(header_overhead(flow.remote_ip()));
    usize::from(peer_mss.min(path)).saturating_sub(MAX_OPTIONS)
}
