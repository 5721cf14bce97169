//! One connection past its handshake: RFC 9293's transmission control block, and what the
//! application asks of it.

mod ack;
mod acked;
mod check;
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
mod text;
mod timers;
#[cfg(debug_assertions)]
mod variables;

pub(crate) use crate::endpoint::Tally;
pub(crate) use negotiated::Negotiated;
pub(crate) use rest::Resting;
pub use state::State;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::IpAddr;

use bytes::Bytes;

use crate::config::{Config, Pacing, SocketOptions};
use crate::congestion::{CongestionController, Controller};
use crate::endpoint::{ListenerId, Queued, Read};
use crate::error::{CloseReason, IcmpError, SocketError};
use crate::handshake::SynReceived;
use crate::memory::Account;
use crate::observe::AckWhy;
use crate::recovery::{Recovery, RttEstimator};
use crate::recv::{RecvSpace, Tuning};
use crate::segment::{Flags, FlowKey};
use crate::send::{Fin, Flight, PathMtu, SendBuffer, SendSpace};
use crate::seq::{SeqNum, WindowScale, WireSeq, WireWindow};
use crate::time::{Duration, Instant};

use ack::Acks;
pub(crate) use ack::OUT_OF_WINDOW_PERIOD;
use ecn::EcnState;
use info::Stats;
use pacing::UNPACED;
use state::Edge;
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

    /// How much is owed to the peer in ACKs, for paying before a turn ends.
    pub(crate) fn ack_overdue(&self) -> bool {
        let window = self.rcv.window.right() - self.rcv.nxt();
        self.acks.is_due() && self.acks.unacknowledged() >= (64 << 10).min(window / 4)
    }

    /// Queues as much of `data` as there is room for; returns how many bytes.
    pub(crate) fn write(&mut self, data: &Bytes) -> Result<usize, SocketError> {
        let room = self.write_room()?.min(data.len());
        if room > 0 {
            self.check_app_limited();
            let keeps_much = room < data.len() / 2;
            self.snd.buffer.push(if keeps_much {
                Bytes::copy_from_slice(data.get(..room).unwrap_or_default())
            } else {
                data.slice(..room)
            });
        }
        self.write_blocked |= room < data.len();
        self.wake_writer(); // the buffer may have come to cost less by what was joined
        Ok(room)
    }

    /// Queues what was taken while the connection opened, whatever its options say by now.
    pub(crate) fn queue_taken(&mut self, data: Bytes) {
        let len = u32::try_from(data.len()).unwrap_or(u32::MAX);
        self.snd.capacity = self.snd.capacity.max(len);
        self.check_app_limited();
        self.snd.buffer.push(data);
    }

    pub(crate) fn write_room(&self) -> Result<usize, SocketError> {
        match (self.close_reason, self.snd.fin) {
            (Some(CloseReason::Finished), _) => Err(SocketError::BrokenPipe),
            (Some(reason), _) => Err(SocketError::Closed(reason)),
            (None, Fin::Open) => Ok(self.writable() as usize),
            (None, _) => Err(SocketError::BrokenPipe),
        }
    }

    /// Queues urgent data: [`Connection::write`], and the urgent pointer names its end.
    pub(crate) fn write_urgent(&mut self, data: &Bytes) -> Result<usize, SocketError> {
        let taken = self.write(data)?;
        if taken > 0 {
            self.snd.up = Some(self.snd.buffer.end());
        }
        Ok(taken)
    }

    /// Bytes that a writer may add now: the buffer's room, less with `TCP_NOTSENT_LOWAT`.
    fn writable(&self) -> u32 {
        let (room, unsent) = (self.send_room(), self.snd.unsent());
        match self.options.notsent_lowat.map(|lowat| lowat.max(1)) {
            Some(lowat) if unsent >= lowat => 0,
            Some(lowat) => room.min((lowat - unsent).max(self.snd.mss)),
            None => room,
        }
    }

    /// Tells a writer who waits that there is room again, once it is worth while.
    pub(super) fn wake_writer(&mut self) {
        let unsent = self.snd.unsent();
        let below_lowat = self
            .options
            .notsent_lowat
            .is_none_or(|lowat| unsent == 0 || unsent < lowat / 2);
        if self.write_blocked && below_lowat && self.send_room() >= self.send_capacity() / 3 {
            self.write_blocked = false;
            self.events.writable = true;
        }
    }

    /// Notes that a writer found no room and waits.
    pub(crate) const fn block_writer(&mut self) {
        self.write_blocked = true;
    }

    /// At most `most` chunks, together at most `max` bytes, one by one to `put`. Who finds fewer
    /// waits for more.
    #[inline]
    pub(crate) fn read(
        &mut self,
        now: Instant,
        max: usize,
        most: usize,
        put: impl FnMut(Bytes),
    ) -> Result<Read<usize>, SocketError> {
        let (bytes, ran_dry) = self.rcv.read(max, most, put);
        if bytes > 0 {
            self.on_read(now, bytes as u32);
        }
        let is_open = self.close_reason.is_none() && !self.rcv.fin_received;
        self.read_blocked |= is_open && ran_dry;
        if bytes > 0 {
            return Ok(Read::Data(bytes));
        }
        match self.close_reason {
            None if is_open => Ok(Read::Empty),
            Some(reason) if !self.rcv.fin_received && reason != CloseReason::Finished => {
                Err(SocketError::Closed(reason))
            }
            _ => Ok(Read::Eof),
        }
    }

    /// The reader found less than it had room for, and waits.
    pub(crate) const fn is_reader_blocked(&self) -> bool {
        self.read_blocked
    }

    /// What waits in the buffers.
    pub(crate) fn queued(&self) -> Queued {
        Queued {
            unread: self.rcv.reassembler.readable(),
            fin_received: self.rcv.fin_received,
            unacked: self.snd.buffer.end().max(self.snd.una) - self.snd.una,
            unsent: self.snd.unsent(),
        }
    }

    /// A copy of unread bytes.
    pub(crate) fn peek(&self, max: usize) -> alloc::vec::Vec<u8> {
        self.rcv.reassembler.peek(max)
    }

    /// Bytes between the reader and the end of the urgent ones: 0 at the mark, `None` past it.
    pub(crate) fn urgent_left(&self) -> Option<u32> {
        self.rcv.urgent_left()
    }

    /// The reader took bytes: the buffer may grow, the window may open.
    fn on_read(&mut self, now: Instant, bytes: u32) {
        if !self.state.receives() {
            return;
        }
        let (buffer, mss) = (self.rcv.window.buffer(), self.snd.mss);
        if let Some(larger) = self.tuning.on_read(now, bytes, buffer, mss) {
            self.rcv.window.grow(larger);
        }
        if self.acks.is_due() {
            return; // it will offer what there is
        }
        let (nxt, charged) = (self.rcv.nxt(), self.rcv.reassembler.charged());
        if self
            .rcv
            .window
            .update_due(nxt, self.recv_share(), charged, mss)
        {
            self.acks.owe(AckWhy::WindowUpdate);
        }
    }

    /// FIN follows what is queued.
    pub(crate) fn shutdown(&mut self) -> Result<(), SocketError> {
        match self.close_reason {
            Some(CloseReason::Finished) => Ok(()),
            Some(reason) => Err(SocketError::Closed(reason)),
            None => {
                if self.snd.fin == Fin::Open {
                    self.snd.fin = Fin::Queued;
                }
                Ok(())
            }
        }
    }

    /// RST, and the end.
    pub(crate) fn abort(&mut self) {
        if self.close_reason.is_none() {
            if self.state != State::TimeWait {
                self.owe_reset();
            } else if self.acks.is_due() {
                self.final_segment = Some((Flags::ACK, self.snd.nxt)); // or the peer repeats its FIN
            }
            self.close(CloseReason::Aborted);
        }
    }

    /// RFC 9293 §3.10.5: `<SEQ=SND.NXT><CTL=RST>`.
    fn owe_reset(&mut self) {
        self.final_segment = Some((Flags::RST | Flags::ACK, self.snd.nxt));
    }

    /// Text that nobody will read is answered as one for no connection (RFC 9293 §3.10.7.1): the
    /// peer takes a RST with the number that it expects, whatever of ours is still on its way
    /// (RFC 5961 §3.2).
    fn refuse_text(&mut self) {
        self.abort();
        self.final_segment = Some((Flags::RST, self.snd.una));
    }

    /// The application let go (RFC 9293 §3.6.1, SHLD-3): unread bytes mean RST.
    pub(crate) fn release(&mut self, now: Instant, config: &Config) {
        self.orphan = true;
        self.timers.released_at = Some(now);
        self.listener = None;
        if self.close_reason.is_some() {
            return;
        }
        let at_once = self.options.linger == Some(Duration::ZERO);
        // In TIME-WAIT the peer has all it wanted, and its FIN may come again (MUST-13).
        if (at_once || self.rcv.reassembler.readable() > 0) && self.state != State::TimeWait {
            self.abort();
            return;
        }
        let _ = self.shutdown();
        if self.state == State::FinWait2 {
            self.timers.linger = Some(now + self.fin_timeout(config));
        }
    }

    /// Every byte and the FIN are acknowledged, or there is nobody left to acknowledge them.
    pub(crate) fn is_flushed(&self) -> bool {
        self.close_reason.is_some() || self.snd.fin == Fin::Acked
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

    /// The state machine moves on.
    fn on_edge(&mut self, now: Instant, edge: Edge) {
        let Some(next) = self.state.after(edge) else {
            debug_assert!(false, "{:?} in {:?}", edge, self.state);
            return;
        };
        self.state = next;
        if !next.sends() {
            self.timers.pacing = None;
            self.ecn.release();
        }
        match next {
            State::Closed => self.close(CloseReason::Finished),
            State::TimeWait => self.enter_time_wait(now),
            State::FinWait2 => self.timers.entered_fin_wait_2 = Some(now),
            _ => {}
        }
    }

    fn enter_time_wait(&mut self, now: Instant) {
        self.timers.loss = None;
        self.timers.entered_time_wait = Some(now);
    }

    /// A new SYN of the peer ends TIME-WAIT (RFC 6191).
    pub(crate) fn end_time_wait(&mut self) {
        self.close(CloseReason::Finished);
    }

    /// The end. What was received in order stays readable; a RST that is owed still goes out.
    fn close(&mut self, reason: CloseReason) {
        self.state = State::Closed;
        self.close_reason = Some(reason);
        self.events.closed = Some(reason);
        self.timers = Timers::default();
        self.snd.flight = Flight::default();
        self.snd.buffer = SendBuffer::new(self.snd.nxt);
        self.rcv.reassembler.discard_out_of_order();
    }

    /// Room for twice the congestion window, so that the sender never runs dry.
    fn grow_send_buffer(&mut self) {
        // What the peer holds above a gap takes room, too, and is not in flight any more.
        let wanted = self
            .cc
            .cwnd()
            .saturating_mul(2)
            .saturating_add(self.snd.flight.sacked());
        self.snd.capacity = self.snd.capacity.max(wanted.min(self.send_buffer_max));
    }
}

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
