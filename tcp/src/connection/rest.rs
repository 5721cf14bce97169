//! A connection at rest: open, with nothing in flight, nothing queued, nothing out of order and
//! nobody in a hurry. What is left of it then is a record of a few hundred bytes beside its flow; the
//! first segment or call makes a connection of it again, as it was.
//!
//! Each part of a connection says itself what of it lasts. What does not is empty at rest, or says
//! something of segments that are long gone.

#[cfg(debug_assertions)]
use alloc::boxed::Box;
use alloc::sync::Arc;
use core::hint::black_box;

use crate::config::{Config, SocketOptions};
use crate::congestion::{CongestionController as _, Controller, RestingController, RestingUsage};
use crate::endpoint::ListenerId;
use crate::error::IcmpError;
use crate::memory::Account;
use crate::observe::ConnectionMark;
use crate::recovery::{Recovery, RestingRecovery, RestingRtt, RttEstimator};
use crate::recv::{Dsacks, Reassembler, RecvSpace, RecvWindow, RestingTuning, Tuning};
use crate::segment::FlowKey;
use crate::send::{Ever, Fin, Flight, PathMtu, RestingPath, SendBuffer, SendSpace};
use crate::seq::{SeqNum, WindowScale};
use crate::time::{Duration, Instant, Span};

use super::ack::{Acks, DELAY, RestingAcks};
use super::ecn::{EcnState, RestingEcn};
use super::info::RestingStats;
use super::pacing::CREDIT;
use super::state::State;
use super::timers::Timers;
use super::{Connection, Events, TimestampState, payload_limit};

/// How long data has not moved before a connection with nothing under way rests: as many are awake as
/// have spoken just now. An ACK is delayed for as long, and what it would answer is forgotten then.
pub(crate) const SILENCE: Duration = DELAY;

/// The same where more are awake than a processor's caches hold: whoever rests leaves its memory, still
/// warm, to the next.
const SILENCE_IN_CROWD: Duration = Duration::from_millis(2);

/// What lasts of a connection at rest, in ESTABLISHED.
#[derive(Debug)]
pub(crate) struct Resting {
    options: Arc<SocketOptions>,
    pub(crate) listener: Option<ListenerId>,
    snd: RestingSend,
    rcv: RestingReceive,
    timestamps: Option<RestingTimestamps>,
    rtt: RestingRtt,
    recovery: RestingRecovery,
    cc: RestingController,
    stats: RestingStats,
    tuning: RestingTuning,
    path: RestingPath,
    acks: RestingAcks,
    ecn: RestingEcn,
    sack: bool,
    /// It was paced, and its time has come.
    paced: bool,
    last_received: Instant,
    /// Buffers of the application's choice.
    fixed_send_buffer: bool,
    fixed_recv_buffer: bool,
    ip_mtu: u16,
    unpaced: u8,
    soft_error: Option<IcmpError>,
    path_trouble: bool,
    end_told: bool,
    /// A reader waits.
    read_blocked: bool,
    #[cfg(debug_assertions)]
    watch: Option<Box<super::invariants::Watch>>,
}

/// With its place in the table, its timer and a socket above it 640 bytes.
#[cfg(not(debug_assertions))]
const _: () = assert!(size_of::<Resting>() <= 432);

/// [`SendSpace`] with SND.NXT = SND.UNA.
#[derive(Debug)]
struct RestingSend {
    una: SeqNum,
    wl1: SeqNum,
    wnd: u32,
    max_wnd: u32,
    capacity: u32,
    peer_mss: u16,
    scale: WindowScale,
    last_sent: Option<Instant>,
    usage: RestingUsage,
}

/// [`RecvSpace`] with nothing in it.
#[derive(Debug)]
struct RestingReceive {
    nxt: SeqNum,
    window: RecvWindow,
}

/// [`TimestampState`] without what is configured.
#[derive(Debug)]
struct RestingTimestamps {
    offset: u32,
    recent: u32,
    recent_at: Instant,
}

impl Connection {
    /// From when on the connection can rest if nothing happens and it [is idle](Self::is_idle): once
    /// data has not moved for [`SILENCE`], or for an RTO as long as something may yet prove a repair
    /// needless, and not before what limits the ACKs of attacks has passed. `crowded`: too many are
    /// awake.
    pub(crate) fn rest_at(&self, crowded: bool) -> Instant {
        let rto = self.rtt.rto_span();
        self.quiet_at(if self.recovery.may_prove_needless() {
            rto
        } else if crowded && !self.tuning.is_sampling() {
            rto.min(const { Span::of(SILENCE_IN_CROWD) })
        } else {
            rto.min(const { Span::of(SILENCE) })
        })
    }

    /// Whether it need not wait for [`Connection::rest_at`] in a crowd: what it was woken for is done,
    /// and little speaks for its being wanted again so soon.
    pub(crate) fn is_drowsy(&self, now: Instant) -> bool {
        self.slept_long
            && !self.recovery.may_prove_needless()
            && !self.tuning.is_sampling()
            && self.quiet_at(const { Span::of(Duration::ZERO) }) <= now
    }

    /// When data has not moved for `silence`, and what else keeps a connection awake is over.
    fn quiet_at(&self, silence: Span) -> Instant {
        let sent = self.snd.last_sent.map(|at| at + silence);
        let paced = self.next_send_time.map(|at| at + CREDIT);
        let quiet = Instant::latest([self.acks.rest_at(silence), sent, paced]);
        quiet.unwrap_or(Instant::ZERO)
    }

    /// Whether the peer is to answer something: it is not idle then.
    pub(crate) const fn is_answer_due(&self) -> bool {
        self.timers.loss.is_some()
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.state == State::Established
            && (self.timers.loss.is_none() && self.acks.is_at_rest())
            && self.snd.is_at_rest()
            && self.rcv.is_at_rest()
            && self.timers == Timers::default()
            && self.ecn.hold().is_none()
            && self.recovery.is_at_rest()
            && self.path.is_at_rest()
            && !(self.orphan || self.write_blocked || self.advice_owed)
            && (self.opening.is_none() && self.final_segment.is_none())
            && self.stats.is_at_rest()
            && self.cc.can_rest()
    }

    /// Frees what its lists hold, as it is of no more use: their room is for a new connection.
    pub(crate) fn free(&mut self) {
        self.snd.flight.free();
        self.snd.buffer.free();
        self.rcv.reassembler.free();
    }

    /// Has the room of one that was freed, and nothing of its own yet.
    pub(crate) fn take_room(&mut self, other: &mut Self) {
        self.snd.flight.take_room(&mut other.snd.flight);
        self.snd.buffer.take_room(&mut other.snd.buffer);
        let store = &mut other.rcv.reassembler;
        self.rcv.reassembler.take_room(store);
    }

    /// What lasts of it, if it is idle and once [`Connection::rest_at`] has come.
    pub(crate) fn rest(&mut self) -> Option<Resting> {
        let cc = self.cc.rest()?;
        let (snd, rcv) = (&self.snd, &self.rcv);
        Some(Resting {
            options: Arc::clone(&self.options),
            listener: self.listener,
            snd: RestingSend {
                una: snd.una,
                wl1: snd.wl1,
                wnd: snd.wnd,
                max_wnd: snd.max_wnd,
                capacity: snd.capacity,
                peer_mss: snd.peer_mss,
                scale: snd.scale,
                last_sent: snd.last_sent,
                usage: snd.usage.rest(),
            },
            rcv: RestingReceive {
                nxt: rcv.nxt(),
                window: rcv.window.clone(),
            },
            timestamps: self.timestamps.map(|ts| RestingTimestamps {
                offset: ts.offset,
                recent: ts.recent,
                recent_at: ts.recent_at,
            }),
            rtt: self.rtt.rest(),
            recovery: self.recovery.rest(snd.una),
            cc,
            stats: self
                .stats
                .rest([self.bytes_received, self.bytes_acked, self.total_retrans]),
            tuning: self.tuning.rest(),
            path: self.path.rest(),
            acks: self.acks.rest(),
            ecn: self.ecn.rest(),
            sack: self.sack,
            paced: self.next_send_time.is_some(),
            last_received: self.last_received,
            fixed_send_buffer: self.send_buffer_max == 0,
            fixed_recv_buffer: self.tuning.is_fixed(),
            ip_mtu: self.ip_mtu,
            unpaced: self.unpaced,
            soft_error: self.soft_error,
            path_trouble: self.path_trouble,
            end_told: self.end_told,
            read_blocked: self.read_blocked,
            #[cfg(debug_assertions)]
            watch: self.watch.take().map(Box::new),
        })
    }
}

impl Resting {
    /// Reads a little of everything, so that it comes into the processor's caches while others do.
    pub(crate) fn glance(&self) {
        black_box((
            self.snd.una,
            self.snd.usage,
            self.rcv.nxt,
            self.last_received,
        ));
        black_box((self.rtt, self.recovery, self.tuning, self.acks));
        black_box((self.stats.totals(), self.read_blocked));
    }

    pub(crate) fn options(&self) -> &SocketOptions {
        &self.options
    }

    /// Both ends use ECN.
    pub(crate) const fn uses_ecn(&self) -> bool {
        self.ecn.enabled
    }

    /// Payload bytes received in order, payload bytes acknowledged, segments sent again.
    pub(crate) fn totals(&self) -> [u64; 3] {
        self.stats.totals()
    }

    /// A reader waits from now on.
    pub(crate) const fn block_reader(&mut self) {
        self.read_blocked = true;
    }

    /// When it is to wake by itself: for keep-alive (MUST-26).
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let keepalive = self.options.keepalive?;
        Some(self.last_received + keepalive.idle)
    }

    /// Whether it has rested for longer than a connection stays awake among few.
    pub(crate) fn has_slept_long(&self, now: Instant) -> bool {
        now >= self.last_received + SILENCE
    }

    /// The connection of `flow` as it was; the record is of no more use.
    pub(crate) fn wake(&mut self, flow: FlowKey, now: Instant, config: &Config) -> Connection {
        #[cfg_attr(not(debug_assertions), expect(unused_mut))]
        let mut conn = self.woken(flow, self.has_slept_long(now), config);
        #[cfg(debug_assertions)]
        {
            conn.watch = self.watch.take().map(|watch| *watch);
        }
        conn
    }

    /// What is kept of it while it is called: as of [the connection](Self::connection) of `flow` that
    /// it would be.
    pub(crate) fn mark(&self, flow: &FlowKey) -> ConnectionMark {
        let [bytes_received, bytes_acked, _] = self.totals();
        let cc = Controller::woken(&self.cc, self.mss(flow));
        ConnectionMark {
            snd_una: 1 + bytes_acked,
            rcv_nxt: 1 + bytes_received,
            out_of_order: 0,
            cwnd: cc.cwnd(),
            ssthresh: cc.ssthresh(),
            ever: Ever::default(),
            rtts: 0,
            recovery: None,
            undone: 0,
            peer_scale: self.snd.scale,
            is_resting: true,
        }
    }

    fn mss(&self, flow: &FlowKey) -> u32 {
        let peer_mss = self.options.clamp_mss(self.snd.peer_mss);
        payload_limit(flow, peer_mss, self.path.mtu, self.timestamps.is_some())
    }

    /// The connection of `flow` as it would be.
    pub(crate) fn connection(&self, flow: FlowKey, config: &Config) -> Connection {
        self.woken(flow, false, config)
    }

    fn woken(&self, flow: FlowKey, slept_long: bool, config: &Config) -> Connection {
        let (totals, stats) = self.stats.wake();
        let [bytes_received, bytes_acked, total_retrans] = totals;
        let mss = self.mss(&flow);
        let unless = |fixed, max| if fixed { 0 } else { max };
        let recv_max = unless(self.fixed_recv_buffer, config.recv_buffer_max);
        Connection {
            flow,
            options: Arc::clone(&self.options),
            listener: self.listener,
            opening: None,
            state: State::Established,
            close_reason: None,
            snd: self.snd.wake(mss),
            rcv: self.rcv.wake(),
            sack: self.sack,
            timestamps: self.timestamps.as_ref().map(|ts| TimestampState {
                offset: ts.offset,
                recent: ts.recent,
                recent_at: ts.recent_at,
                required: config.timestamps_required,
            }),
            rtt: RttEstimator::woken(&self.rtt, config),
            recovery: Recovery::woken(config.loss_detection, &self.recovery, self.snd.una),
            cc: Controller::woken(&self.cc, mss),
            pacing: config.pacing,
            next_send_time: self.paced.then_some(Instant::ZERO),
            burst_left: 0,
            unpaced: self.unpaced,
            acks: Acks::woken(self.rcv.nxt, self.acks, config),
            ecn: EcnState::woken(&self.ecn),
            stats,
            timers: Timers::default(),
            tuning: Tuning::woken(&self.tuning, recv_max),
            account: Account::new(),
            send_buffer_max: unless(self.fixed_send_buffer, config.send_buffer_max),
            min_probe: config.min_probe,
            max_ack_delay: config.max_ack_delay,
            path: PathMtu::woken(&self.path, flow.is_ipv6(), config.mtu_probing),
            ip_mtu: self.ip_mtu,
            advice_owed: false,
            orphan: false,
            final_segment: None,
            path_trouble: self.path_trouble,
            soft_error: self.soft_error,
            end_told: self.end_told,
            events: Events::default(),
            read_blocked: self.read_blocked,
            write_blocked: false,
            last_received: self.last_received,
            keepalive_probes: 0,
            slept_long,
            bytes_received,
            bytes_acked,
            total_retrans,
            #[cfg(debug_assertions)]
            watch: None,
        }
    }
}

impl RestingSend {
    fn wake(&self, mss: u32) -> SendSpace {
        let una = self.una;
        SendSpace {
            una,
            nxt: una,
            wnd: self.wnd,
            wl1: self.wl1,
            wl2: una, // what is below SND.UNA is not newer, be it ever so old
            max_wnd: self.max_wnd,
            scale: self.scale,
            mss,
            peer_mss: self.peer_mss,
            buffer: SendBuffer::new(una),
            flight: Flight::default(),
            fin: Fin::Open,
            capacity: self.capacity,
            last_sent: self.last_sent,
            usage: self.usage.wake(una),
            pushed: una,
            small_end: una,
            up: None,
        }
    }
}

impl RestingReceive {
    fn wake(&self) -> RecvSpace {
        RecvSpace {
            reassembler: Reassembler::new(self.nxt),
            window: self.window.clone(),
            fin: None,
            fin_received: false,
            dsack: Dsacks::default(),
            urgent: None,
        }
    }
}
