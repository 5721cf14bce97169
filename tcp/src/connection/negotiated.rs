//! What a handshake hands over, and the state that a connection begins with.

use alloc::sync::Arc;

use bytes::Bytes;

use crate::config::{Config, Pacing, SocketOptions};
use crate::congestion::{Controller, Setup, WindowUsage, initial_window};
use crate::endpoint::ListenerId;
use crate::recovery::RttEstimator;
use crate::recv::{Dsacks, Reassembler, RecvSpace, RecvWindow};
use crate::segment::{FlowKey, SynOptions};
use crate::send::{Fin, Flight, SendBuffer, SendSpace};
use crate::seq::{SeqNum, WindowScale, WireSeq};
use crate::time::{Duration, Instant};

use super::{TimestampState, payload_limit};

/// What a completed handshake has settled.
#[derive(Debug)]
pub(crate) struct Negotiated {
    pub(crate) flow: FlowKey,
    pub(crate) options: Arc<SocketOptions>,
    pub(crate) listener: Option<ListenerId>,
    pub(crate) iss: WireSeq,
    pub(crate) irs: WireSeq,
    /// The options of the peer's SYN.
    pub(crate) peer: SynOptions,
    /// Both ends use ECN (RFC 3168 §6.1.1).
    pub(crate) ecn: bool,
    /// The window of the segment that completed the handshake, in bytes.
    pub(crate) wnd: u32,
    /// What our SYN offered, in bytes.
    pub(crate) our_window: u32,
    /// The shift of our window field, if both ends scale.
    pub(crate) our_scale: WindowScale,
    pub(crate) ts_offset: u32,
    /// Round trip of the handshake, if nothing of it was sent twice.
    pub(crate) rtt: Option<Duration>,
    /// How often our SYN or SYN,ACK was sent again.
    pub(crate) retransmits: u8,
    pub(crate) path_mtu: u16,
    /// Bytes that went with our SYN and have been acknowledged; `iss` counts them in.
    pub(crate) syn_data_acked: u32,
    /// What the application wants sent first, as far as it is not there yet.
    pub(crate) data: Bytes,
}

impl Negotiated {
    pub(super) fn send_space(&self, now: Instant, config: &Config) -> SendSpace {
        let una = SeqNum::first(self.iss) + 1u32;
        let peer_mss = self
            .peer
            .mss
            .unwrap_or(if self.flow.is_ipv6() { 1220 } else { 536 });
        let timestamps = self.peer.timestamps.is_some();
        SendSpace {
            una,
            nxt: una,
            wnd: self.wnd,
            wl1: SeqNum::first(self.irs) + 1u32,
            wl2: una,
            max_wnd: self.wnd,
            scale: self.peer.window_scale.unwrap_or_default(),
            mss: payload_limit(
                &self.flow,
                self.options.clamp_mss(peer_mss),
                self.path_mtu,
                timestamps,
            ),
            peer_mss,
            buffer: SendBuffer::new(una),
            flight: Flight::default(),
            fin: Fin::Open,
            capacity: self
                .options
                .send_buffer
                .unwrap_or(config.send_buffer_initial),
            last_sent: None,
            usage: WindowUsage::new(now, una),
            pushed: una,
            small_end: una,
            up: None,
        }
    }

    pub(super) fn recv_space(&self, config: &Config) -> RecvSpace {
        let irs = SeqNum::first(self.irs) + 1u32;
        let buffer = self
            .options
            .recv_buffer
            .unwrap_or(config.recv_buffer_initial);
        RecvSpace {
            reassembler: Reassembler::new(irs),
            window: RecvWindow::new(irs + self.our_window, self.our_scale, buffer),
            fin: None,
            fin_received: false,
            dsack: Dsacks::default(),
            urgent: None,
        }
    }

    pub(super) fn timestamp_state(&self, now: Instant, config: &Config) -> Option<TimestampState> {
        self.peer.timestamps.map(|ts| TimestampState {
            offset: self.ts_offset,
            recent: ts.tsval,
            recent_at: now,
            required: config.timestamps_required,
        })
    }

    /// RFC 5681 §3.1, RFC 6928 §2: a handshake that lost more than one SYN starts at one (CC-2).
    pub(super) fn controller(&self, now: Instant, config: &Config, mss: u32) -> Controller {
        let window = if self.retransmits > 1 {
            mss
        } else {
            initial_window(mss)
        };
        let mut setup = Setup::new(mss, window);
        (setup.hystart, setup.super_segments) = (config.hystart, config.tso);
        (setup.now, setup.srtt) = (now, self.rtt);
        setup.sack = self.peer.sack_permitted;
        setup.paced = config.pacing != Pacing::Off;
        setup.seed = u64::from(self.iss.0) << 32 | u64::from(self.ts_offset);
        Controller::new(self.options.congestion.unwrap_or(config.congestion), &setup)
    }

    pub(super) fn rtt_estimator(&self, now: Instant, config: &Config) -> RttEstimator {
        // RFC 6298 §5.7: what timed out below 3 s starts the data at 3 s.
        let first_rto = if self.retransmits > 0 { 3 } else { 1 };
        let mut rtt = RttEstimator::new(Duration::from_secs(first_rto), config.rto_min)
            .with_granularity(config.rto_granularity);
        if let Some(sample) = self.rtt {
            rtt.on_sample(now, sample);
        }
        rtt
    }
}
