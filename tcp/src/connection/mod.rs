//! One connection past its handshake: RFC 9293's transmission control block, and what the
//! application asks of it.

mod ack;
mod acked;
mod check;
mod closing;
mod congestion;
mod delivery;
mod ecn;
mod errors;
mod idle;
mod info;
mod input;
#[cfg(debug_assertions)]
mod invariants;
mod loss;
mod memory;
mod nagle;
mod negotiated;
mod observed;
mod opening;
mod output;
mod pacing;
mod path;
mod prediction;
mod resend;
mod rest;
mod state;
mod streams;
mod text;
mod timers;
#[cfg(debug_assertions)]
mod variables;

pub(crate) use crate::endpoint::Tally;
pub(crate) use negotiated::Negotiated;
pub(crate) use rest::{Resting, SILENCE};
pub use state::State;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;

use crate::config::{Config, Pacing, SocketOptions};
use crate::congestion::{CongestionController as _, Controller};
use crate::endpoint::ListenerId;
use crate::error::{CloseReason, IcmpError};
use crate::handshake::SynReceived;
use crate::memory::Account;
use crate::observe::AckWhy;
use crate::recovery::{Recovery, RttEstimator};
use crate::recv::{RecvSpace, Tuning};
use crate::segment::{Flags, FlowKey};
use crate::send::{PathMtu, SendSpace};
use crate::seq::{SeqNum, WindowScale, WireSeq, WireWindow};
use crate::time::{Duration, Instant};

use ack::Acks;
pub(crate) use ack::OUT_OF_WINDOW_PERIOD;
use ecn::EcnState;
use info::Stats;
use pacing::UNPACED;
use timers::Timers;

/// What happened inside that applications may wait for; the endpoint collects it after each call.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Events {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The urgent pointer moved on.
    pub(crate) urgent: bool,
    /// Ranges above a gap that memory was too short for.
    pub(crate) pruned: u32,
    pub(crate) stalled: bool,
    pub(crate) closed: Option<CloseReason>,
    /// The endpoint is to count something.
    counted: bool,
    tally: Tally,
}

impl Events {
    pub(crate) const fn is_empty(&self) -> bool {
        !(self.readable | self.writable) && !self.is_rare()
    }

    /// Whether there is more than news for a reader or writer.
    pub(crate) const fn is_rare(&self) -> bool {
        self.urgent | self.stalled | self.counted || self.pruned != 0 || self.closed.is_some()
    }

    /// For adding to what the endpoint is to count.
    pub(super) const fn count(&mut self) -> &mut Tally {
        self.counted = true;
        &mut self.tally
    }

    /// What the endpoint is to count, if there is anything.
    pub(crate) const fn tally(&self) -> Option<&Tally> {
        if self.counted {
            Some(&self.tally)
        } else {
            None
        }
    }
}

/// The timestamps option in use (RFC 7323).
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimestampState {
    /// Added to our clock, so that connections cannot be linked (TS-14).
    pub(crate) offset: u32,
    /// TS.Recent.
    pub(crate) recent: u32,
    /// When TS.Recent was set.
    pub(crate) recent_at: Instant,
    /// A segment without the option is dropped.
    pub(crate) required: bool,
}

impl TimestampState {
    /// Our clock for this connection: milliseconds.
    pub(crate) const fn tsval(&self, now: Instant) -> u32 {
        (now.as_millis() as u32).wrapping_add(self.offset)
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) flow: FlowKey,
    pub(crate) options: Arc<SocketOptions>,
    /// Who accepts it; `None` once accepted, or when it was opened from here.
    pub(crate) listener: Option<ListenerId>,
    /// The handshake, where Fast Open has begun before it was complete.
    pub(crate) opening: Option<Box<SynReceived>>,
    state: State,
    close_reason: Option<CloseReason>,
    snd: SendSpace,
    rcv: RecvSpace,
    /// Both ends use SACK.
    sack: bool,
    timestamps: Option<TimestampState>,
    rtt: RttEstimator,
    recovery: Recovery,
    cc: Controller,
    /// [`Config::pacing`].
    pacing: Pacing,
    /// Paced data leaves no earlier (`C.next_send_time` of BBR).
    next_send_time: Option<Instant>,
    /// What is left of the burst that this time allows, in bytes.
    burst_left: u32,
    /// Segments that leave before pacing begins.
    unpaced: u8,
    acks: Acks,
    ecn: EcnState,
    stats: Stats,
    timers: Timers,
    tuning: Tuning,
    account: Account,
    send_buffer_max: u32,
    /// [`Config::min_probe`].
    min_probe: Duration,
    /// [`Config::max_ack_delay`].
    max_ack_delay: Duration,
    path: PathMtu,
    /// The path's MTU by IP.
    ip_mtu: u16,
    /// IP is to hear that the path seems dead.
    advice_owed: bool,
    /// The application let go; nobody reads any more.
    orphan: bool,
    /// Flags and SEG.SEQ of what is still due after CLOSED: a RST, or the ACK of the peer's FIN.
    final_segment: Option<(Flags, SeqNum)>,
    /// ICMP reported trouble and no ACK has shown since that the path works: what the application
    /// hears should the connection time out.
    path_trouble: bool,
    /// What ICMP reported last, until the application asks.
    soft_error: Option<IcmpError>,
    /// It was told how the connection ended.
    end_told: bool,
    pub(crate) events: Events,
    read_blocked: bool,
    write_blocked: bool,
    last_received: Instant,
    keepalive_probes: u8,
    /// It had rested for long when it was woken.
    slept_long: bool,
    bytes_received: u64,
    bytes_acked: u64,
    total_retrans: u64,
    #[cfg(debug_assertions)]
    watch: Option<invariants::Watch>,
}

impl Connection {
    /// The connection that a handshake opened, in ESTABLISHED.
    pub(crate) fn new(now: Instant, config: &Config, settled: &Negotiated) -> Self {
        let Negotiated {
            flow,
            options,
            listener,
            peer,
            path_mtu,
            ..
        } = settled;
        let mut snd = settled.send_space(now, config);
        let cc = settled.controller(now, config, snd.mss);
        snd.flight.sample_rate(now, cc.wants_rate_samples());
        let rcv = settled.recv_space(config);
        let recv_max = options.recv_buffer.map_or(config.recv_buffer_max, |_| 0);
        Self {
            flow: *flow,
            options: Arc::clone(options),
            listener: *listener,
            opening: None,
            state: State::Established,
            close_reason: None,
            sack: peer.sack_permitted,
            timestamps: settled.timestamp_state(now, config),
            rtt: settled.rtt_estimator(now, config),
            recovery: Recovery::new(config.loss_detection),
            cc,
            pacing: config.pacing,
            next_send_time: None,
            burst_left: 0,
            unpaced: UNPACED,
            acks: Acks::new(rcv.nxt(), snd.mss, config),
            ecn: EcnState::new(settled.ecn, snd.nxt),
            stats: Stats::new(settled.syn_data_acked > 0),
            timers: Timers::default(),
            tuning: Tuning::new(now, recv_max, settled.rtt),
            account: Account::new(),
            send_buffer_max: options.send_buffer.map_or(config.send_buffer_max, |_| 0),
            min_probe: config.min_probe,
            max_ack_delay: config.max_ack_delay,
            path: PathMtu::new(*path_mtu, flow.is_ipv6(), config.mtu_probing),
            ip_mtu: *path_mtu,
            advice_owed: false,
            snd,
            rcv,
            orphan: false,
            final_segment: None,
            path_trouble: false,
            soft_error: None,
            end_told: false,
            events: Events::default(),
            read_blocked: false,
            write_blocked: false,
            last_received: now,
            keepalive_probes: 0,
            slept_long: false,
            bytes_received: 0,
            bytes_acked: u64::from(settled.syn_data_acked),
            total_retrans: 0,
            #[cfg(debug_assertions)]
            watch: None,
        }
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    pub(crate) const fn is_orphan(&self) -> bool {
        self.orphan
    }

    /// Payload bytes received in order, payload bytes acknowledged, segments sent again.
    pub(crate) const fn totals(&self) -> [u64; 3] {
        [self.bytes_received, self.bytes_acked, self.total_retrans]
    }

    /// Whether an ACK is to leave at the end of this turn.
    pub(crate) const fn ack_due(&self) -> bool {
        self.acks.is_due()
    }

    /// Changes options that may change while the connection is open.
    pub(crate) fn set_options(
        &mut self,
        now: Instant,
        config: &Config,
        options: Arc<SocketOptions>,
    ) {
        let before = core::mem::replace(&mut self.options, options);
        let algorithm = self.options.congestion.unwrap_or(config.congestion);
        if algorithm != before.congestion.unwrap_or(config.congestion) {
            self.change_controller(now, config, algorithm);
        }
        self.resize_buffers(&before);
        if self.options.quickack && self.acks.is_owed() {
            self.acks.owe(AckWhy::Asked);
        }
        if self.options.nodelay && !before.nodelay {
            self.push_queued(); // even out of a cork, as Linux does
        }
        if !self.options.cork {
            self.timers.cork = None;
        }
        if self.options.max_pacing_rate != before.max_pacing_rate {
            self.next_send_time = None;
        }
        if self.options.max_segment != before.max_segment {
            self.update_mss();
        }
        self.wake_writer();
    }

    /// Buffers of the application's choice are no longer tuned.
    fn resize_buffers(&mut self, before: &SocketOptions) {
        if self.options.recv_buffer != before.recv_buffer
            && let Some(bytes) = self.options.recv_buffer
        {
            self.rcv.window.resize(bytes);
            self.tuning.stop();
        }
        if self.options.send_buffer != before.send_buffer
            && let Some(bytes) = self.options.send_buffer
        {
            (self.snd.capacity, self.send_buffer_max) = (bytes, 0);
        }
    }

    /// SND.NXT, RCV.NXT, and TS.Recent with our offset: what outlives the connection.
    pub(crate) fn last_numbers(&self) -> (WireSeq, SeqNum, Option<(u32, u32)>) {
        let timestamps = self.timestamps.map(|ts| (ts.recent, ts.offset));
        (self.snd.nxt.wire(), self.rcv.nxt(), timestamps)
    }

    /// The window field that says what was offered already, and no more.
    pub(crate) fn last_window(&self) -> (WireWindow, WindowScale) {
        let window = &self.rcv.window;
        (window.standing(self.rcv.nxt()), window.scale())
    }

    /// Owes an ACK now: a segment of the handshake wants one.
    pub(crate) const fn owe_ack(&mut self, why: AckWhy) {
        self.acks.owe(why);
    }

    /// Whether so much is owed to the peer in ACKs that they do not wait for the end of a turn.
    pub(crate) fn ack_overdue(&self) -> bool {
        let window = self.rcv.window.right() - self.rcv.nxt();
        self.acks.is_due() && self.acks.unacknowledged() >= MAX_OWED.min(window / 4)
    }

    /// ICMP says something about a segment in flight (5927 §4.1, BL-8: the caller checked that).
    pub(crate) fn on_icmp_error(&mut self, now: Instant, error: IcmpError, seq: WireSeq) {
        let seq = self.snd.una.expand(seq);
        if seq < self.snd.una || seq >= self.snd.nxt {
            return;
        }
        match error {
            IcmpError::PacketTooBig { mtu } => self.on_packet_too_big(now, seq, mtu),
            // Soft for an open connection, whatever RFC 1122 calls it (RFC 5927 §5.2).
            _ => self.on_soft_error(error),
        }
    }
}

/// Bytes that arrive at once and share an ACK. Each ACK has the peer's kernel work on the stack's core,
/// where that is on the same machine; fewer have a window's right edge come late.
const MAX_OWED: u32 = 512 << 10;

/// Payload of a full segment: min(peer's MSS, path) less the options that every segment carries
/// (MUST-16, MSS-1). A peer that offers next to nothing gets 64 (Linux: 48).
pub(crate) fn payload_limit(flow: &FlowKey, peer_mss: u16, path_mtu: u16, timestamps: bool) -> u32 {
    let path = path_mtu.saturating_sub(header_overhead(flow.remote_ip()));
    u32::from(peer_mss.min(path).max(64 + 12)) - if timestamps { 12 } else { 0 }
}

/// IP and TCP header without options, in bytes.
pub(crate) const fn header_overhead(remote: IpAddr) -> u16 {
    match remote {
        IpAddr::V4(_) => 40,
        IpAddr::V6(_) => 60,
    }
}
