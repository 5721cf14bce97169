//! A TCP endpoint in any state, and any segments, times and calls.

mod ledger;
mod peer;
mod settings;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::memory::Lease;
use ustack_tcp::seq::WireSeq;
use ustack_tcp::testing::{Recorder, Sent, pattern};
use ustack_tcp::time::Instant;
use ustack_tcp::{
    ConnId, Ecn, Event, Flags, FlowKey, IcmpError, ListenOptions, ListenerId, Options, Read,
    Segment, SocketOptions, State, Tcp, Verdict,
};

use self::ledger::Ledger;
use self::peer::Peer;
use self::settings::RECV_BUFFER_MAX;
use crate::input::Input;
use crate::trace::trace;

/// Turns that one call may cause, and segments of one turn: more would be a loop or a flood.
const MAX_ROUNDS: usize = 500;
const MAX_SEGMENTS: usize = 2_000;

const BACKLOG: u16 = 4;

/// Operations of one input; those behind say nothing new.
const MAX_OPERATIONS: usize = 300;

/// Brings a connection into a state, then plays segments near to what could be, deadlines (in time
/// or late), calls of the application and ICMP errors.
///
/// The endpoint never sends what was not written, other bytes the second time, or past the peer's
/// window; acknowledges nothing that did not come and takes back neither acknowledgment nor window;
/// tells no lies in SACK; answers no RST with a RST. The application reads the peer's bytes in
/// order. Turns end, buffers keep to their limits, and nothing is left once all is let go.
pub fn tcp_endpoint(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    world.prelude(input.byte());
    for _ in 0..MAX_OPERATIONS {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

struct World {
    tcp: Tcp,
    now: Instant,
    listener: ListenerId,
    /// The flow between the peer and the listener, or the port that connects.
    flow: FlowKey,
    socket: SocketOptions,
    /// Memory is short, since others hold this of it.
    others: Option<Lease>,
    /// The application's connection.
    held: Option<ConnId>,
    /// A SYN that waits for the application's verdict.
    incoming: Option<ConnId>,
    /// Bytes that a SYN yet to be sent may carry.
    early: u64,
    peer: Peer,
    ledger: Option<Ledger>,
    /// That of the incarnation before, in TIME-WAIT.
    before: Option<Ledger>,
    /// That of the application's connection, when it is over and the flow has begun anew.
    behind: Option<Ledger>,
    /// The peer's last SYN that could begin something.
    syn: Option<Segment>,
    mtu: u16,
    tso: bool,
    /// The turn under way brought a RST and nothing else.
    only_resets: bool,
    /// It brought something already.
    is_busy: bool,
    /// The incarnation of the ledger is: the next one may have its ISN.
    is_over: bool,
    /// A handshake that follows TIME-WAIT is under way, or has failed.
    is_reopening: bool,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let shape = input.byte();
        let config = settings::config(input);
        let peer = Peer::new(input);
        let mut socket = SocketOptions::default();
        for _ in 0..shape >> 6 {
            settings::change(&mut socket, input);
        }
        socket.fast_open = (shape & 4 != 0).then_some(2);
        socket.defer_accept = (shape & 8 != 0).then_some(Duration::from_secs(1));
        let (mtu, tso) = (config.mtu, config.tso);
        let mut tcp = Tcp::new(config, [9; 32]);
        let others = (shape & 32 != 0).then(|| settings::scarce_memory(&mut tcp));
        let (us, them): (IpAddr, IpAddr) = match shape & 1 {
            0 => ([10, 0, 0, 2].into(), [10, 0, 0, 1].into()),
            _ => (
                [0xfd77, 0, 0, 0, 0, 0, 0, 2].into(),
                [0xfd77, 0, 0, 0, 0, 0, 0, 1].into(),
            ),
        };
        let mut options = ListenOptions::new(SocketAddr::new(us, 80));
        (options.socket, options.backlog) = (socket, BACKLOG);
        options.hold = shape & 16 != 0;
        let listener = tcp.listen(options).expect("a free port");
        let port = if shape & 2 == 0 { 80 } else { 5000 };
        let flow = FlowKey::new(SocketAddr::new(us, port), SocketAddr::new(them, 1000));
        Self {
            tcp,
            now: Instant::from_millis(5_000),
            listener,
            flow,
            socket,
            others,
            held: None,
            incoming: None,
            early: 0,
            peer,
            ledger: None,
            before: None,
            behind: None,
            syn: None,
            mtu,
            tso,
            only_resets: false,
            is_busy: false,
            is_over: false,
            is_reopening: false,
        }
    }

    fn is_active(&self) -> bool {
        self.flow.local.port() != 80
    }

    /// Brings the connection into one of the states, by the shortest way.
    fn prelude(&mut self, choice: u8) {
        let steps = choice % 11;
        if steps == 0 {
            return; // LISTEN or CLOSED
        }
        if self.is_active() {
            self.connect(0); // SYN-SENT
        } else {
            self.plain(Flags::SYN, 0); // SYN-RECEIVED
        }
        if steps == 1 {
            return;
        }
        self.decide(Verdict::Accept);
        let answer = if self.is_active() {
            Flags::SYN | Flags::ACK
        } else {
            Flags::ACK
        };
        self.plain(answer, 0);
        self.plain(Flags::ACK | Flags::PSH, 100); // what a deferred accept waits for
        self.accept();
        let fin = Flags::ACK | Flags::FIN;
        match steps {
            3 => self.plain(fin, 0), // CLOSE-WAIT
            4 => self.shutdown(),    // FIN-WAIT-1
            5 | 8 => {
                self.shutdown();
                self.plain(Flags::ACK, 0); // FIN-WAIT-2
                if steps == 8 {
                    self.plain(fin, 0); // TIME-WAIT
                }
            }
            6 => {
                let mut crossing = self.peer.plain(self.ledger.as_ref(), fin, 0);
                self.shutdown();
                crossing.window.0 = 100;
                self.deliver(crossing, Ecn::NotEct); // CLOSING
                self.transmit();
            }
            7 => {
                self.plain(fin, 0);
                self.shutdown(); // LAST-ACK
            }
            9 => self.write(20_000, false),
            10 => {
                self.write(20_000, false);
                self.plain(Flags::ACK, 0);
                self.shutdown();
                self.release(); // an orphan with data
            }
            _ => {} // ESTABLISHED
        }
    }

    fn plain(&mut self, flags: Flags, len: usize) {
        let segment = self.peer.plain(self.ledger.as_ref(), flags, len);
        self.deliver(segment, Ecn::NotEct);
        self.transmit();
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        trace(|| format!("{:?} operation {op:#04x}", self.now));
        self.only_resets &= op & 15 < 8; // calls may end in a RST
        match op & 15 {
            0..=7 => {
                let segment = self.peer.bent(self.ledger.as_ref(), input);
                let is_syn = segment.has(Flags::SYN);
                self.deliver(segment, Ecn::from_bits(op >> 6));
                if op & 0x30 == 0x30 && !is_syn {
                    return; // the next one comes in the same turn
                }
            }
            8 => {
                let len = usize::from(op >> 4) * 400;
                self.plain(Flags::ACK, len);
            }
            9 | 10 => self.wait(op >> 4, input),
            11 => self.write(input.below(30_000), op & 0x80 != 0),
            12 => self.read(input.below(20_000) + 1),
            13 => self.icmp(input),
            14 => self.call(op >> 4, input),
            _ => self.accept(),
        }
        self.transmit();
        self.check();
    }

    fn call(&mut self, call: u8, input: &mut Input<'_>) {
        match (call, self.held) {
            (0..=2, _) => self.shutdown(),
            (3, Some(id)) => {
                self.tcp.abort(self.now, id);
            }
            (4 | 5, _) => self.release(),
            (6 | 7, None) if self.is_active() => self.connect(usize::from(call & 1) * 2000),
            (6, _) => self.decide(input.choose(&[Verdict::Accept, Verdict::Refuse, Verdict::Drop])),
            (7, _) => {
                let change = |options: &mut SocketOptions| settings::change(options, input);
                let changed = self.tcp.set_listen_options(self.listener, change);
                changed.expect("it listens");
            }
            (9, Some(id)) => {
                // Each may say that the connection is over.
                let _ = (self.tcp.urgent_left(id), self.tcp.take_error(id));
                let _ = (self.tcp.write_room(id), self.tcp.is_flushed(id));
            }
            (8, _) => {
                let now = self.now;
                self.tcp.close_listener(now, self.listener);
                let mut options = ListenOptions::new(SocketAddr::new(self.flow.local.ip(), 80));
                (options.socket, options.backlog) = (self.socket, BACKLOG);
                options.hold = input.byte() & 1 != 0;
                self.listener = self.tcp.listen(options).expect("the port is free again");
            }
            (_, Some(id)) => {
                let now = self.now;
                let change = |options: &mut SocketOptions| settings::change(options, input);
                // The connection may be over.
                let _ = self.tcp.set_options(now, id, change);
            }
            _ => {}
        }
    }

    /// Opens the connection, with some data if the peer gave a cookie before.
    fn connect(&mut self, len: usize) {
        let (now, flow, socket) = (self.now, self.flow, self.socket);
        let connected = if len == 0 {
            let connected = self.tcp.connect(now, flow, socket);
            connected.map(|(id, _)| (id, 0))
        } else {
            let data: Bytes = pattern(0, len);
            let connected = self.tcp.connect_with_data(now, flow, socket, &data);
            connected.map(|(id, _, taken)| (id, taken as u64))
        };
        trace(|| format!("{now:?} connect with {len}: {connected:?}"));
        // The flow may be in TIME-WAIT.
        if let Ok((id, taken)) = connected {
            (self.held, self.ledger, self.early) = (Some(id), None, taken);
        }
        self.transmit();
    }

    /// What the application says to a SYN that waits for it.
    fn decide(&mut self, verdict: Verdict) {
        if let Some(id) = self.incoming.take() {
            self.tcp.decide(self.now, id, verdict);
            self.transmit();
        }
    }

    fn accept(&mut self) {
        if self.is_active() {
            return;
        }
        while let Some((id, flow)) = self.tcp.accept(self.listener) {
            assert_eq!(flow, self.flow);
            self.release();
            let mut all = self.tcp.connections();
            if all.any(|one| one.id == id && one.state != State::Closed) {
                self.held = Some(id);
            } else {
                // Over before anybody accepted it; the ledger may be of another one.
                drop(all);
                self.tcp.release(self.now, id);
            }
        }
    }

    fn deliver(&mut self, segment: Segment, ecn: Ecn) {
        self.only_resets = segment.has(Flags::RST) && !self.is_busy;
        self.is_busy = true;
        let syn = segment.has(Flags::SYN).then(|| segment.clone());
        let was = self.state();
        self.is_reopening &= matches!(was, Some(State::SynReceived | State::TimeWait));
        if let Some(ledger) = &mut self.ledger {
            if was == Some(State::SynSent) && segment.has(Flags::SYN) {
                ledger.irs = Some(segment.seq.0);
            }
            ledger.on_delivered(&segment);
        }
        let header = segment.header();
        let len = segment.payload.len();
        let done = self
            .tcp
            .on_segment(self.now, &self.flow, true, ecn, segment);
        trace(|| {
            let (now, state) = (self.now, self.state());
            format!("{now:?} in {header:?} len {len}: {done:?}, {was:?} to {state:?}")
        });
        self.is_over |= self.state().is_none();
        // A handshake under way stays that of the SYN that began it.
        let is_new = was != Some(State::SynReceived) || self.state() != was;
        self.syn = syn.filter(|_| is_new).or(self.syn.take());
        if was == Some(State::TimeWait) && self.state() == Some(State::SynReceived) {
            // As often as that comes to nothing, TIME-WAIT goes on; all have the same ISN.
            let before = self.before.take_if(|_| self.is_reopening);
            self.ledger = before.or(self.ledger.take());
            (self.is_over, self.is_reopening) = (true, true);
        }
        if was == Some(State::SynSent)
            && self.state() == Some(State::SynSent)
            && let Some(ledger) = &mut self.ledger
        {
            ledger.forget_peer();
        }
    }

    fn state(&self) -> Option<State> {
        let mut all = self.tcp.connections();
        all.find(|one| one.flow == self.flow && one.state != State::Closed)
            .map(|one| one.state)
    }

    /// Sends what is ready, and holds each segment against the ledger.
    fn transmit(&mut self) {
        let mut segments = 0;
        for round in 0.. {
            assert!(round < MAX_ROUNDS, "the turn does not end");
            let mut recorder = Recorder {
                sent: Vec::new(),
                mtu: self.mtu,
                tso: self.tso,
            };
            self.tcp.poll_transmit(self.now, &mut recorder);
            self.check_memory(usize::MAX);
            segments += recorder.sent.len();
            for sent in &recorder.sent {
                self.judge(sent);
            }
            if !self.tcp.has_ready() {
                break;
            }
        }
        assert!(segments < MAX_SEGMENTS, "{segments} segments in a turn");
        (self.only_resets, self.is_busy) = (false, false);
        self.is_over |= self.state().is_none();
        while let Some(event) = self.tcp.poll_event() {
            match event {
                Event::Incoming { conn, flow, .. } => {
                    assert_eq!(flow, self.flow);
                    self.incoming = Some(conn);
                }
                Event::Closed(id, _) => {
                    let is_known = self.held == Some(id) || self.tcp.info(self.now, id).is_err();
                    assert!(is_known || !self.is_active(), "{event:?}");
                }
                _ => {}
            }
        }
    }

    fn judge(&mut self, sent: &Sent) {
        assert_eq!(sent.flow, self.flow);
        let segment = &sent.segment;
        trace(|| {
            let (now, len) = (self.now, segment.payload.len());
            format!("{now:?} out {:?} len {len}", segment.header())
        });
        if segment.has(Flags::RST) {
            assert!(segment.payload.is_empty());
            assert!(!self.only_resets, "RST for RST: {segment:?}");
            return;
        }
        let is_other = |ledger: &Ledger| self.is_over || ledger.iss != segment.seq.0;
        if segment.has(Flags::SYN) && self.ledger.as_ref().is_none_or(is_other) {
            self.is_over = false;
            let syn = self.syn.as_ref().filter(|_| segment.has(Flags::ACK));
            let mut next = Ledger::new(segment, syn);
            next.written = std::mem::take(&mut self.early);
            self.before = self.ledger.replace(next);
            if self.held.is_some() && self.behind.is_none() {
                self.behind.clone_from(&self.before);
            }
        } else if matches!(self.state(), Some(State::TimeWait) | None)
            && self
                .ledger
                .as_ref()
                .is_some_and(|ledger| !ledger.is_at(segment))
            && let Some(mut before) = self.before.take_if(|before| before.is_at(segment))
        {
            // A SYN that nobody meant has not ended TIME-WAIT (RFC 9293 §3.10.7.4, SYN-RECEIVED),
            // though its time may be over since it answered.
            if let Some(behind) = self.behind.take() {
                before.read = behind.read;
            }
            self.ledger = Some(before);
        }
        if let Some(timestamps) = segment.options.timestamps() {
            self.peer.tsecr = timestamps.tsval;
        }
        if let Options::Syn(options) = &segment.options
            && segment.has(Flags::ACK)
        {
            self.peer.uses_timestamps &= options.timestamps.is_some();
            if self.peer.syn.fast_open.is_some() {
                // The cookie that it was given, from now on.
                self.peer.syn.fast_open = options.fast_open.or(self.peer.syn.fast_open);
            }
        }
        let ledger = self.ledger.as_mut().expect("something before its SYN");
        ledger.on_sent(sent);
    }

    fn wait(&mut self, scale: u8, input: &mut Input<'_>) {
        let by = Duration::from_micros(u64::from(input.byte()) << (scale + 4));
        let end = self.now + by;
        if input.byte() & 1 == 0 {
            for round in 0.. {
                let Some(at) = self.tcp.poll_timeout().filter(|&at| at <= end) else {
                    break;
                };
                assert!(round < 20_000, "too many deadlines in {by:?}");
                self.now = self.now.max(at);
                self.tcp.on_timeout(self.now);
                self.transmit();
            }
        }
        self.now = end;
        self.peer.clock = self.peer.clock.wrapping_add(by.as_millis() as u32);
        self.tcp.on_timeout(self.now);
    }

    fn write(&mut self, len: usize, is_urgent: bool) {
        let ledger = self.behind.as_mut().or(self.ledger.as_mut());
        let Some((id, ledger)) = self.held.zip(ledger) else {
            return;
        };
        let data: Bytes = pattern(ledger.written, len);
        let taken = if is_urgent {
            self.tcp.write_urgent(self.now, id, &data)
        } else {
            self.tcp.write(self.now, id, &data)
        };
        trace(|| format!("{:?} write {len}: {taken:?}", self.now));
        ledger.written += taken.unwrap_or(0) as u64;
        self.transmit();
    }

    fn read(&mut self, most: usize) {
        let ledger = self.behind.as_mut().or(self.ledger.as_mut());
        let Some((id, ledger)) = self.held.zip(ledger) else {
            return;
        };
        if let Ok(Read::Data(data)) = self.tcp.read(self.now, id, most) {
            assert!((1..=most).contains(&data.len()));
            ledger.on_read(&data);
        }
    }

    fn shutdown(&mut self) {
        let Some(id) = self.held else { return };
        if self.tcp.shutdown(self.now, id).is_ok()
            && let Some(ledger) = self.behind.as_mut().or(self.ledger.as_mut())
        {
            ledger.is_shut = true;
        }
        self.transmit();
    }

    fn release(&mut self) {
        let Some(id) = self.held.take() else { return };
        // The FIN of what is behind is no more.
        if let Some(ledger) = self
            .behind
            .take()
            .is_none()
            .then_some(&mut self.ledger)
            .and_then(Option::as_mut)
        {
            ledger.is_shut = true;
        }
        self.tcp.release(self.now, id);
        self.transmit();
    }

    fn icmp(&mut self, input: &mut Input<'_>) {
        let Some(ledger) = &self.ledger else { return };
        let seq = match input.byte() {
            0 => input.u32(),
            at => ledger.ours(0).wrapping_add(u32::from(at - 1) * 536),
        };
        let error = match input.below(8) {
            0 => IcmpError::NetUnreachable,
            1 => IcmpError::HostUnreachable,
            2 => IcmpError::PortUnreachable,
            3 => IcmpError::ProtocolUnreachable,
            4 => IcmpError::TimeExceeded,
            5 => IcmpError::Prohibited,
            _ => IcmpError::PacketTooBig { mtu: input.u16() },
        };
        self.tcp
            .on_icmp_error(self.now, &self.flow, WireSeq(seq), error);
    }

    fn check(&self) {
        // Those that wait to be accepted, the application's, and one under way.
        assert!(self.tcp.connection_count() <= usize::from(BACKLOG) + 3);
        let ledger = self.behind.as_ref().or(self.ledger.as_ref());
        let Some((id, ledger)) = self.held.zip(ledger) else {
            return;
        };
        let Ok(info) = self.tcp.info(self.now, id) else {
            return;
        };
        let queued = self.tcp.queued(id);
        let unread = info.bytes_received.saturating_sub(ledger.read);
        // Each window may be rounded up to what its field can say, until twice the buffer is held.
        let most = 2 * RECV_BUFFER_MAX;
        assert!(unread <= most.into(), "{unread} bytes wait for the reader");
        assert!(queued.unread <= most, "{queued:?}");
        let peeked = self.tcp.peek(id, 64);
        assert_eq!(peeked.len(), queued.unread.min(64) as usize);
        ledger.check_unread(&peeked);
        let written = ledger.written;
        let notsent = u64::from(info.notsent_bytes);
        assert!(notsent <= written, "{notsent} bytes to send of {written}");
        // Of what was given up, a FIN counts, too.
        let unacked = u64::from(queued.unacked);
        let is_in_order = queued.unsent <= queued.unacked && unacked <= written + 1;
        assert!(is_in_order, "{queued:?} of {written} written");
    }

    /// Lets go of everything; nothing is left.
    /// What is used of the budget is at most `most`, and what others leave.
    fn check_memory(&self, most: usize) {
        if let (Some(others), Some(memory)) = (&self.others, self.tcp.memory()) {
            let left = memory.limit - others.used();
            assert!(memory.used <= most.min(left), "{memory:?}, {left} left");
        }
    }

    fn end(mut self) {
        self.transmit();
        self.tcp.close_listener(self.now, self.listener);
        let all: Vec<_> = self.tcp.connections().map(|one| one.id).collect();
        self.held = None;
        for id in all {
            self.tcp.abort(self.now, id);
            self.tcp.release(self.now, id);
        }
        self.transmit();
        let end = self.now + Duration::from_secs(1_000);
        while let Some(at) = self.tcp.poll_timeout().filter(|&at| at <= end) {
            self.now = self.now.max(at);
            self.tcp.on_timeout(self.now);
            self.transmit();
        }
        assert_eq!(self.tcp.connections().count(), 0, "connections are left");
        assert_eq!(self.tcp.poll_timeout(), None, "a deadline is left");
        assert_eq!(self.tcp.timer_entries(), 0, "a timer is left");
        self.check_memory(0);
    }
}
