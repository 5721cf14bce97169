//! Two hosts, a faulty link, and what their applications do.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ustack::device::{Caps, Offload};
use ustack_tcp::testing::pattern;
use ustack_tcp::time::Instant;
use ustack_tcp::{
    CloseReason, Config, CongestionAlgorithm, ConnId, EcnMode, Event, FlowKey, ListenOptions,
    ListenerId, Pacing, Read, SocketOptions,
};

use crate::host::{HOST, PEER, Watched, at};
use crate::input::Input;
use crate::trace::trace;

const PORT: u16 = 80;
const MTU: u16 = 1500;

/// What both applications write at most, in bytes.
const MAX_WRITTEN: u64 = 400_000;
/// Packets whose fate the input decides; all others arrive.
const MAX_FATES: usize = 96;
/// Losses in a row, in one direction: more would be a path that is dead.
const MAX_LOST: usize = 6;
/// A handshake survives less: a SYN,ACK is sent so often, and each time it or its answer was lost.
const SYN_ACKS: usize = 6;
const DELAY: Duration = Duration::from_millis(10);

/// Virtual time and turns in which everything has to be through once the link is good.
const PATIENCE: Duration = Duration::from_secs(900);
const MAX_TURNS: usize = 50_000;

/// Plays a list of operations of two applications over a link that loses, repeats, delays and bends
/// packets as the input says.
///
/// Each reads the other's bytes, all and in order, and then the end of them; a reset is seen by
/// both. Everything is over in bounded time and turns, and nothing is left.
pub fn operations(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    while !input.is_empty() {
        world.step(&mut input);
    }
    world.finish();
}

/// One host with its application.
struct End {
    host: Box<Watched>,
    conn: Option<ConnId>,
    written: u64,
    read: u64,
    /// It has said that it writes no more.
    is_shut: bool,
    has_read_all: bool,
    /// It is over, in this way.
    closed: Option<CloseReason>,
    /// Packets lost in a row.
    lost: usize,
}

struct World {
    /// The one that connects, the one that listens.
    ends: [End; 2],
    listener: ListenerId,
    now: Instant,
    /// By time of arrival: to whom, and what.
    wire: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    packets: u64,
    fates: Vec<u8>,
    /// Somebody has reset the connection.
    is_reset: bool,
    /// Something was lost: a reset, or what it follows, so that its number lies beyond the window.
    is_lossy: bool,
    /// Packets lost in all.
    losses: usize,
    turns: usize,
}

fn end(addresses: [std::net::IpAddr; 2], input: &mut Input<'_>) -> End {
    let shape = input.byte();
    let mut config = Config::default();
    config.congestion = match shape & 3 {
        0 | 1 => CongestionAlgorithm::Cubic,
        2 => CongestionAlgorithm::Reno,
        _ => CongestionAlgorithm::Bbr,
    };
    config.ecn = if shape & 4 == 0 {
        EcnMode::Passive
    } else {
        EcnMode::On
    };
    config.timestamps = shape & 8 == 0;
    config.pacing = if shape & 16 == 0 {
        Pacing::SlowStart
    } else {
        Pacing::Off
    };
    let buffer = [128 << 10, 16 << 10, 4 << 10, 1 << 10][usize::from(shape >> 6)];
    config.recv_buffer_initial = buffer;
    config.recv_buffer_max = buffer * 4;
    config.send_buffer_initial = buffer;
    config.send_buffer_max = buffer * 4;
    let caps = if shape & 32 == 0 {
        Caps::plain(MTU)
    } else {
        Caps::offload(MTU)
    };
    End {
        host: Box::new(Watched::with_addresses(addresses, config, false, caps)),
        conn: None,
        written: 0,
        read: 0,
        is_shut: false,
        has_read_all: false,
        closed: None,
        lost: 0,
    }
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let family = input.below(2);
        let mut ends = [end(PEER, input), end(HOST, input)];
        let fates = input.below(MAX_FATES);
        let fates = input.take(fates).iter().rev().copied().collect();
        let now = ends[0].host.now;
        let listener = ListenOptions::new(at(HOST[family], PORT));
        let listener = ends[1].host.host.tcp_mut().listen(listener);
        let flow = FlowKey {
            local: at(PEER[family], 0),
            remote: at(HOST[family], PORT),
        };
        let tcp = ends[0].host.host.tcp_mut();
        let (conn, _) = tcp
            .connect(now, flow, SocketOptions::default())
            .expect("a free port");
        ends[0].conn = Some(conn);
        let mut world = Self {
            ends,
            listener: listener.expect("a free port"),
            now,
            wire: BTreeMap::new(),
            packets: 0,
            fates,
            is_reset: false,
            is_lossy: false,
            losses: 0,
            turns: 0,
        };
        world.transmit();
        world
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        let side = usize::from(op >> 7);
        match op & 15 {
            0..=4 => self.write(side, usize::from(input.u16()) >> (op >> 4 & 7)),
            5..=7 => self.read(side, usize::from(input.u16()) + 1),
            8 => self.shut(side),
            9 if op & 0x70 == 0x70 => self.reset(side),
            _ => {
                let by = Duration::from_micros(u64::from(input.byte()) << (op >> 4 & 7) << 4);
                self.run(self.now + by);
            }
        }
        self.transmit();
    }

    fn write(&mut self, side: usize, len: usize) {
        let end = &mut self.ends[side];
        let Some(conn) = end
            .conn
            .filter(|_| end.written < MAX_WRITTEN && !end.is_shut)
        else {
            return;
        };
        let data: Bytes = pattern(end.written, len);
        // It may not be open yet, or be over.
        let taken = end.host.host.tcp_mut().write(self.now, conn, &data);
        end.written += taken.unwrap_or(0) as u64;
    }

    fn read(&mut self, side: usize, mut most: usize) {
        let end = &mut self.ends[side];
        let Some(conn) = end.conn else { return };
        while most > 0 && !end.has_read_all {
            match end.host.host.tcp_mut().read(self.now, conn, most) {
                Ok(Read::Data(data)) => {
                    assert_eq!(
                        data,
                        pattern(end.read, data.len()),
                        "from byte {} on",
                        end.read
                    );
                    end.read += data.len() as u64;
                    most -= data.len();
                }
                Ok(Read::Eof) => end.has_read_all = true,
                Ok(Read::Empty) | Err(_) => return,
            }
        }
    }

    fn shut(&mut self, side: usize) {
        let end = &mut self.ends[side];
        if let Some(conn) = end.conn {
            end.is_shut |= end.host.host.tcp_mut().shutdown(self.now, conn).is_ok();
        }
    }

    fn reset(&mut self, side: usize) {
        let end = &mut self.ends[side];
        if let Some(conn) = end.conn {
            self.is_reset = true;
            end.host.host.tcp_mut().abort(self.now, conn);
        }
    }

    /// Everything until `until` happens, or nothing is left to happen.
    fn run(&mut self, until: Instant) {
        while let Some(next) = self.next().filter(|&next| next <= until) {
            self.turn(next);
        }
        self.now = self.now.max(until);
    }

    fn next(&self) -> Option<Instant> {
        let delivery = self.wire.keys().next().map(|(at, _)| *at);
        let deadlines = self
            .ends
            .iter()
            .filter_map(|end| end.host.host.poll_timeout());
        deadlines.chain(delivery).min()
    }

    fn turn(&mut self, at: Instant) {
        self.turns += 1;
        assert!(self.turns < MAX_TURNS, "no end of turns");
        self.now = self.now.max(at);
        while let Some(entry) = self
            .wire
            .first_entry()
            .filter(|one| one.key().0 <= self.now)
        {
            let (to, bytes) = entry.remove();
            self.ends[to].host.now = self.now;
            self.ends[to].host.on_frame(&bytes, Offload::default());
            self.put_on_wire(to);
        }
        for side in [0, 1] {
            self.ends[side].host.host.on_timeout(self.now);
        }
        self.transmit();
    }

    fn transmit(&mut self) {
        for side in [0, 1] {
            self.ends[side].host.now = self.now;
            self.ends[side].host.transmit();
            self.put_on_wire(side);
            self.events(side);
        }
    }

    fn events(&mut self, side: usize) {
        let end = &mut self.ends[side];
        while let Some(event) = end.host.host.tcp_mut().poll_event() {
            trace(|| format!("    end {side}: {event:?}"));
            match event {
                Event::Closed(id, reason) if end.conn == Some(id) => end.closed = Some(reason),
                Event::Accepted(listener) => {
                    let accepted = end.host.host.tcp_mut().accept(listener);
                    end.conn = accepted.map(|(id, _)| id).or(end.conn);
                }
                _ => {}
            }
        }
    }

    /// What a host has just sent meets its fate.
    fn put_on_wire(&mut self, from: usize) {
        for (_, mut bytes) in std::mem::take(&mut self.ends[from].host.sent) {
            let mut fate = self.fates.pop().unwrap_or(0);
            let mut at = self.now + DELAY;
            let lost = &mut self.ends[from].lost;
            // What is bent is as good as lost.
            let is_lost = matches!(fate & 7, 1 | 2 | 5);
            if is_lost && *lost < MAX_LOST {
                (*lost, self.losses, self.is_lossy) = (*lost + 1, self.losses + 1, true);
            } else {
                *lost = 0;
                fate = if is_lost { 0 } else { fate };
            }
            match fate & 7 {
                1 | 2 => {
                    trace(|| format!("    lost, {} bytes of end {from}", bytes.len()));
                    continue;
                }
                3 => self.queue(at + DELAY * u32::from(fate >> 3), from, bytes.clone()),
                4 => at += DELAY * u32::from(fate >> 3) / 4,
                5 => {
                    let bit = usize::from(fate >> 3) * 37 % (bytes.len() * 8);
                    bytes[bit / 8] ^= 1 << (bit % 8);
                }
                _ => {}
            }
            self.queue(at, from, bytes);
        }
    }

    fn queue(&mut self, at: Instant, from: usize, bytes: Vec<u8>) {
        self.packets += 1;
        self.wire.insert((at, self.packets), (1 - from, bytes));
    }

    /// The link is good from now on: both write no more and read to the end.
    fn finish(mut self) {
        self.fates.clear();
        let patience = self.now + PATIENCE;
        while !self.is_through() {
            for side in [0, 1] {
                self.read(side, usize::MAX);
                self.shut(side);
            }
            self.transmit();
            let Some(next) = self.next() else { break };
            assert!(next <= patience, "not through after {PATIENCE:?}");
            self.turn(next);
        }
        self.read(0, usize::MAX);
        self.read(1, usize::MAX);
        self.check();
        let [first, second] = self.ends;
        first.host.end(&[]);
        second.host.end(&[self.listener]);
    }

    fn is_through(&self) -> bool {
        let is_over = |end: &End| end.has_read_all && end.is_flushed() || end.closed.is_some();
        self.ends.iter().all(is_over)
    }

    fn check(&self) {
        let [first, second] = &self.ends;
        if self.is_reset {
            assert!(first.read <= second.written && second.read <= first.written);
            // Who has finished before hears of nothing.
            let is_over = |end: &End| {
                let is_deaf = self.is_lossy && end.is_flushed();
                end.conn.is_none() || end.closed.is_some() || end.has_read_all || is_deaf
            };
            assert!(is_over(first) && is_over(second), "one end waits for ever");
            return;
        }
        if second.conn.is_none() {
            assert!(self.losses >= SYN_ACKS, "it never opened");
            assert!(first.closed.is_some(), "one end waits for ever");
            return;
        }
        assert_eq!(first.read, second.written);
        assert_eq!(second.read, first.written);
        for end in [first, second] {
            assert!(end.has_read_all, "no end of what the peer wrote");
            assert!(
                matches!(end.closed, None | Some(CloseReason::Finished)),
                "{:?}",
                end.closed
            );
        }
    }
}

impl End {
    fn is_flushed(&self) -> bool {
        self.conn
            .is_some_and(|conn| self.host.host.tcp().is_flushed(conn))
    }
}
