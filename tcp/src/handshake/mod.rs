//! Opening a connection: SYN-SENT and SYN-RECEIVED, small records that are consumed into a
//! `Connection` once the handshake is complete (RFC 9293 §3.5, §3.10.7.3–4).

mod syn_received;
mod syn_sent;

pub(crate) use syn_received::{SynReceived, SynReceivedOutcome};
pub(crate) use syn_sent::{SynSent, SynSentOutcome};

use core::num::NonZeroU16;

use crate::config::{Config, SocketOptions};
use crate::connection::{Negotiated, header_overhead};
use crate::endpoint::ListenerId;
use crate::segment::{
    Ecn, Flags, FlowKey, Options, Segment, SynOptions, Timestamps, Transmit, TxMeta,
};
use crate::seq::{WindowScale, WireSeq, WireWindow};
use crate::time::{Duration, Instant};

/// RFC 6298 §2.1: the first timeout, before any sample.
const INITIAL_RTO: Duration = Duration::from_secs(1);

/// What a SYN or SYN,ACK of ours is sent with, and how often it was.
#[derive(Debug)]
struct Repeat {
    sent: u8,
    sent_at: Option<Instant>,
    deadline: Option<Instant>,
    due: bool,
}

impl Repeat {
    const fn new() -> Self {
        Self {
            sent: 0,
            sent_at: None,
            deadline: None,
            due: true,
        }
    }

    fn on_sent(&mut self, now: Instant) {
        let backoff = 1 << self.sent.min(7);
        self.deadline = Some(now + INITIAL_RTO * backoff);
        self.sent_at = Some(now);
        self.sent = self.sent.saturating_add(1);
        self.due = false;
    }

    /// True when it has been sent as often as may be.
    fn on_timeout(&mut self, now: Instant, retries: u8) -> bool {
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return false;
        }
        self.deadline = None;
        self.due = self.sent <= retries;
        !self.due
    }

    /// Karn's rule: no sample once anything was sent twice.
    fn rtt(&self, now: Instant) -> Option<Duration> {
        self.sent_at.filter(|_| self.sent == 1).map(|at| now - at)
    }

    const fn retransmits(&self) -> u8 {
        self.sent.saturating_sub(1)
    }
}

/// What both kinds of handshake know of this end.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) flow: FlowKey,
    pub(crate) options: SocketOptions,
    pub(crate) iss: WireSeq,
    pub(crate) ts_offset: u32,
    path_mtu: u16,
    repeat: Repeat,
}

impl Ours {
    pub(crate) const fn new(
        flow: FlowKey,
        options: SocketOptions,
        iss: WireSeq,
        ts_offset: u32,
    ) -> Self {
        Self {
            flow,
            options,
            iss,
            ts_offset,
            path_mtu: 0,
            repeat: Repeat::new(),
        }
    }

    fn tsval(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    /// The window of our SYN, never scaled (RFC 7323 §2.2).
    fn window(&self, config: &Config) -> u32 {
        let buffer = self
            .options
            .recv_buffer
            .unwrap_or(config.recv_buffer_initial);
        buffer.min(u32::from(u16::MAX))
    }

    fn scale(&self, config: &Config) -> WindowScale {
        WindowScale::for_buffer(self.options.recv_buffer.unwrap_or(config.recv_buffer_max))
    }

    /// Sends a SYN, or a SYN,ACK when `peer` is known: then with what both ends can do.
    fn send_syn(
        &mut self,
        now: Instant,
        config: &Config,
        ack: Option<(WireSeq, &SynOptions)>,
        tx: &mut impl Transmit,
    ) {
        self.path_mtu = tx.path_mtu(self.flow.remote_ip());
        let mss = self.options.clamp_mss(
            config
                .mtu
                .saturating_sub(header_overhead(self.flow.remote_ip())),
        );
        let peer = ack.map(|(_, peer)| peer);
        let options = SynOptions {
            mss: Some(mss), // MUST-14, MUST-67
            window_scale: peer
                .is_none_or(|peer| peer.window_scale.is_some())
                .then(|| self.scale(config)),
            sack_permitted: peer.is_none_or(|peer| peer.sack_permitted),
            fast_open: None,
            timestamps: match peer {
                None => Some(Timestamps {
                    tsval: self.tsval(now),
                    tsecr: 0,
                }),
                Some(peer) => peer.timestamps.map(|theirs| Timestamps {
                    tsval: self.tsval(now),
                    tsecr: theirs.tsval,
                }),
            },
        };
        let segment = Segment {
            seq: self.iss,
            ack: ack.map_or(WireSeq(0), |(irs, _)| irs.wrapping_add(1)),
            window: WireWindow::from_bytes(self.window(config), WindowScale::default()),
            flags: if ack.is_some() {
                Flags::SYN | Flags::ACK
            } else {
                Flags::SYN
            },
            options: Options::Syn(options),
            payload: (),
            urgent: 0,
            mss: NonZeroU16::MIN,
        };
        self.push(&segment, tx);
        self.repeat.on_sent(now);
    }

    fn push(&self, segment: &Segment<()>, tx: &mut impl Transmit) {
        let meta = TxMeta {
            flow: &self.flow,
            segment,
            payload_len: 0,
            gso_size: None,
            ecn: Ecn::NotEct,
            dscp: self.options.dscp,
            ttl: self.options.ttl,
        };
        tx.push(&meta, core::iter::empty());
    }

    fn settle(
        &self,
        now: Instant,
        config: &Config,
        irs: WireSeq,
        peer: SynOptions,
        wnd: u32,
        listener: Option<ListenerId>,
    ) -> Negotiated {
        let scaled = peer.window_scale.is_some();
        Negotiated {
            flow: self.flow,
            options: self.options,
            listener,
            iss: self.iss,
            irs,
            peer,
            wnd,
            our_window: self.window(config),
            our_scale: if scaled {
                self.scale(config)
            } else {
                WindowScale::default()
            },
            ts_offset: self.ts_offset,
            rtt: self.repeat.rtt(now),
            retransmits: self.repeat.retransmits(),
            path_mtu: if self.path_mtu == 0 {
                config.mtu
            } else {
                self.path_mtu
            },
        }
    }
}

/// A RST, with ACK when there is something to acknowledge.
pub(crate) const fn reset(seq: WireSeq, ack: Option<WireSeq>) -> Segment<()> {
    let (ack, flags) = match ack {
        Some(ack) => (ack, Flags(Flags::RST.0 | Flags::ACK.0)),
        None => (WireSeq(0), Flags::RST),
    };
    Segment {
        seq,
        ack,
        window: WireWindow(0),
        flags,
        options: Options::none(),
        payload: (),
        urgent: 0,
        mss: NonZeroU16::MIN,
    }
}

/// The RST that a segment without a connection deserves (RFC 9293 §3.10.7.1, SM-1).
pub(crate) fn reset_for(seg: &Segment) -> Option<Segment<()>> {
    if seg.has(Flags::RST) {
        None
    } else if seg.has(Flags::ACK) {
        Some(reset(seg.ack, None))
    } else {
        Some(reset(WireSeq(0), Some(seg.seq.wrapping_add(seg.len()))))
    }
}
