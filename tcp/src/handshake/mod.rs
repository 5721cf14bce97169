//! Opening a connection: SYN-SENT and SYN-RECEIVED, small records that are consumed into a
//! `Connection` once the handshake is complete (RFC 9293 §3.5, §3.10.7.3–4).

mod cookie;
mod fast_open;
mod repeat;
mod syn_received;
mod syn_sent;

pub(crate) use cookie::{COOKIE_LIFE, check as check_cookie, syn_ack as cookie_syn_ack};
pub(crate) use fast_open::{CookieCheck, FastOpenCache, FastOpenKeys, FastOpenRequest};
pub(crate) use syn_received::{SynReceived, SynReceivedOutcome};
pub(crate) use syn_sent::{SynSent, SynSentOutcome, syn_data_room};

use alloc::sync::Arc;
use core::num::NonZeroU16;

use bytes::Bytes;

use crate::config::{Config, EcnMode, SocketOptions};
use crate::connection::{Negotiated, header_overhead};
use crate::endpoint::ListenerId;
use crate::observe::{View, Why};
use crate::outlet::Outlet;
use crate::segment::{
    Ecn, FastOpen, Flags, FlowKey, Options, Segment, SynOptions, Timestamps, TxMeta,
};
use crate::seq::{WindowScale, WireSeq, WireWindow};
use crate::time::Instant;

use repeat::Repeat;

/// What both kinds of handshake know of this end.
#[derive(Debug)]
pub(crate) struct Ours {
    pub(crate) flow: FlowKey,
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) iss: WireSeq,
    pub(crate) ts_offset: u32,
    /// What the application wants sent first (RFC 7413 §4.2.1).
    pub(crate) data: Bytes,
    /// How much of `data` went out with a SYN: the peer may acknowledge that much.
    syn_data: u32,
    path_mtu: u16,
    /// The window and the scale that a SYN of ours has announced: they hold, whatever buffer the
    /// application asks for afterwards (RFC 7323 §2.2).
    announced: Option<(u32, WindowScale)>,
    /// The most that a SYN may announce.
    pub(crate) window_limit: u32,
    repeat: Repeat,
}

/// What the peer's SYN said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerSyn {
    pub(crate) irs: WireSeq,
    pub(crate) options: SynOptions,
    /// Its window, never scaled.
    pub(crate) wnd: u32,
    /// It asks for ECN, and so do we or at least we agree.
    pub(crate) ecn: bool,
}

/// What a SYN or SYN,ACK of ours carries besides what all of them do.
struct Syn<'a> {
    /// A SYN,ACK: what it acknowledges, and what the peer can do.
    answers: Option<(WireSeq, &'a PeerSyn)>,
    ecn: Flags,
    fast_open: Option<FastOpen>,
    window: u32,
}

impl PeerSyn {
    /// Reads a SYN. RFC 3168 §6.1.1: an ECN-setup SYN bears both flags; one that asks for more
    /// (AE, RFC 9768) is answered as if it asked for this (AE-3).
    pub(crate) fn new(seg: &Segment, options: SynOptions, config: &Config) -> Self {
        Self {
            irs: seg.seq,
            options: SynOptions {
                timestamps: options.timestamps.filter(|_| config.timestamps),
                ..options
            },
            wnd: u32::from(seg.window.0),
            ecn: config.ecn != EcnMode::Off && seg.has(Flags::ECE | Flags::CWR),
        }
    }
}

impl Ours {
    pub(crate) const fn new(
        flow: FlowKey,
        options: Arc<SocketOptions>,
        iss: WireSeq,
        ts_offset: u32,
    ) -> Self {
        Self {
            flow,
            options,
            iss,
            ts_offset,
            data: Bytes::new(),
            syn_data: 0,
            path_mtu: 0,
            announced: None,
            window_limit: u32::MAX,
            repeat: Repeat::new(),
        }
    }

    /// The same end, about to answer a SYN that crossed its own (RFC 9293 §3.5, MUST-10).
    pub(crate) fn crossed(&self) -> Self {
        Self {
            data: self.data.clone(),
            syn_data: self.syn_data,
            announced: self.announced,
            window_limit: self.window_limit,
            repeat: Repeat::after_syn(),
            ..Self::new(
                self.flow,
                Arc::clone(&self.options),
                self.iss,
                self.ts_offset,
            )
        }
    }

    const fn tsval(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.ts_offset)
    }

    /// The window of our SYN, never scaled (RFC 7323 §2.2).
    fn window(&self, config: &Config) -> u32 {
        if let Some((window, _)) = self.announced {
            return window;
        }
        let buffer = self
            .options
            .recv_buffer
            .unwrap_or(config.recv_buffer_initial);
        buffer.min(u32::from(u16::MAX)).min(self.window_limit)
    }

    fn scale(&self, config: &Config) -> WindowScale {
        if let Some((_, scale)) = self.announced {
            return scale;
        }
        WindowScale::for_buffer(self.options.recv_buffer.unwrap_or(config.recv_buffer_max))
    }

    /// Whether `ack` acknowledges our SYN, and perhaps what came with it.
    fn acks_syn(&self, ack: WireSeq) -> bool {
        ack.0.wrapping_sub(self.iss.0).wrapping_sub(1) <= self.syn_data
    }

    fn syn(&self, now: Instant, config: &Config, syn: &Syn<'_>) -> Segment<()> {
        let mss = self.options.clamp_mss(
            config
                .mtu
                .saturating_sub(header_overhead(self.flow.remote_ip())),
        );
        let peer = syn.answers.map(|(_, peer)| &peer.options);
        let options = SynOptions {
            mss: Some(mss), // MUST-14, MUST-67
            window_scale: peer
                .is_none_or(|peer| peer.window_scale.is_some())
                .then(|| self.scale(config)),
            sack_permitted: peer.is_none_or(|peer| peer.sack_permitted),
            fast_open: syn.fast_open,
            timestamps: match peer {
                None => config.timestamps.then(|| Timestamps {
                    tsval: self.tsval(now),
                    tsecr: 0,
                }),
                Some(peer) => peer.timestamps.map(|theirs| Timestamps {
                    tsval: self.tsval(now),
                    tsecr: theirs.tsval,
                }),
            },
        };
        let ack = if syn.answers.is_some() {
            Flags::ACK
        } else {
            Flags::NONE
        };
        Segment {
            seq: self.iss,
            ack: syn.answers.map_or(WireSeq(0), |(ack, _)| ack),
            window: WireWindow::from_bytes(syn.window, WindowScale::default()),
            flags: Flags::SYN | ack | syn.ecn,
            options: Options::Syn(options),
            payload: (),
            urgent: 0,
            mss: NonZeroU16::MIN,
        }
    }

    fn send_syn(
        &mut self,
        now: Instant,
        config: &Config,
        syn: &Syn<'_>,
        data: Bytes,
        tx: &mut impl Outlet,
    ) {
        self.path_mtu = tx.path_mtu(self.flow.remote_ip());
        let why = match syn.answers {
            _ if !self.repeat.is_first() => Why::SynAgain,
            Some(_) => Why::SynAck,
            None => Why::Syn,
        };
        self.push(&self.syn(now, config, syn), data, why, tx);
        self.announced = Some((self.window(config), self.scale(config)));
        self.repeat.on_sent(now);
    }

    fn push(&self, segment: &Segment<()>, data: Bytes, why: Why, tx: &mut impl Outlet) {
        let meta = TxMeta {
            flow: &self.flow,
            segment,
            payload_len: data.len() as u32,
            gso_size: None,
            ecn: Ecn::NotEct, // RFC 3168 §6.1.1: neither SYN nor SYN,ACK (EC-2)
            dscp: self.options.dscp,
            ttl: self.options.ttl,
        };
        tx.push(
            &meta,
            Some(data).filter(|data| !data.is_empty()).into_iter(),
        );
        tx.on_sent(why, || View::opening(segment.has(Flags::ACK)));
    }

    /// What both ends can do, now that the peer acknowledged `ack`, with `wnd` bytes to spare.
    fn settle(
        &self,
        now: Instant,
        config: &Config,
        peer: &PeerSyn,
        (ack, wnd): (WireSeq, u32),
        listener: Option<ListenerId>,
    ) -> Negotiated {
        let acked = (ack.0.wrapping_sub(self.iss.0).wrapping_sub(1)).min(self.syn_data);
        Negotiated {
            flow: self.flow,
            options: Arc::clone(&self.options),
            listener,
            iss: self.iss.wrapping_add(acked),
            irs: peer.irs,
            peer: peer.options,
            ecn: peer.ecn,
            wnd,
            our_window: self.window(config),
            our_scale: if peer.options.window_scale.is_some() {
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
            syn_data_acked: acked,
            data: self.data.slice(acked as usize..),
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
