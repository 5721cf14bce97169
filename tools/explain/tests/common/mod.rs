//! Two hosts with the real stack, a path between them with a middlebox, and somebody who records.
//! Time is virtual.

#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod edit;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use explain::{Explainer, Report, text};
use referee::capture::{Packet, Reader, Recorded};
use ustack::Config;
use ustack::batch::TxBatch;
use ustack::device::Caps;
use ustack::tcp::time::Instant;
use ustack::tcp::{ConnId, FlowKey, ListenOptions, ListenerId, Read, SocketError, SocketOptions};
use ustack::testing::VirtualHost;

/// The client, and the server.
pub(crate) const CLIENT: usize = 0;
pub(crate) const SERVER: usize = 1;
const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 9, 0, 1), Ipv4Addr::new(10, 9, 0, 2)];
const PORT: u16 = 9000;

/// What the middlebox does with a packet.
pub(crate) enum Verdict {
    /// It passes.
    Pass,
    /// It is lost.
    Drop,
    /// It is late by so much.
    Late(Duration),
    /// It goes on as this.
    Changed(Vec<u8>),
    /// It passes, and these packets go to these ends.
    Inject(Vec<(usize, Vec<u8>)>),
}

/// A packet at the middlebox.
pub(crate) struct Passing<'a> {
    pub(crate) now: Duration,
    /// The end that sent it.
    pub(crate) from: usize,
    pub(crate) data: &'a [u8],
}

pub(crate) type Rule = Box<dyn FnMut(&Passing<'_>) -> Verdict>;
pub(crate) type App = Box<dyn FnMut(&mut Socket<'_>)>;

/// The socket of an application, as it runs after every event of its host.
pub(crate) struct Socket<'a> {
    pub(crate) now: Duration,
    pub(crate) received: u64,
    /// All bytes written went into the socket.
    pub(crate) is_written: bool,
    pub(crate) has_eof: bool,
    end: &'a mut End,
}

impl Socket<'_> {
    /// Writes so many bytes, or queues them.
    pub(crate) fn write(&mut self, count: usize) {
        self.end.outbox.push(count);
        self.end.flush(self.now);
    }

    /// Whether it is to read what arrives.
    pub(crate) fn reads(&mut self, reads: bool) {
        self.end.reads = reads;
    }

    pub(crate) fn close(&mut self) {
        self.end.closes = true;
    }

    pub(crate) fn wake_at(&mut self, at: Duration) {
        self.end.wake = Some(at);
    }

    /// The host forgets all it knew.
    pub(crate) fn reboot(&mut self) {
        self.end.reboots = true;
    }
}

struct End {
    side: usize,
    host: Box<VirtualHost>,
    options: SocketOptions,
    listener: Option<ListenerId>,
    id: Option<ConnId>,
    outbox: Vec<usize>,
    reads: bool,
    closes: bool,
    reboots: bool,
    received: u64,
    has_eof: bool,
    wake: Option<Duration>,
    app: Option<App>,
}

impl End {
    fn new(side: usize, seed: u64, options: SocketOptions, app: App) -> Self {
        Self {
            side,
            host: host(side, seed, options),
            options,
            listener: None,
            id: None,
            outbox: Vec::new(),
            reads: true,
            closes: false,
            reboots: false,
            received: 0,
            has_eof: false,
            wake: None,
            app: Some(app),
        }
    }

    /// Writes what is queued, a write each; what does not fit stays.
    fn flush(&mut self, now: Duration) {
        let Some(id) = self.id else { return };
        while let Some(count) = self.outbox.first_mut() {
            let data = Bytes::from(vec![0x55; *count]);
            let taken = match self.host.tcp_mut().write(instant(now), id, &data) {
                Ok(taken) => taken,
                Err(SocketError::NotConnected) => 0,
                Err(_) => *count,
            };
            *count -= taken;
            if *count > 0 {
                break;
            }
            self.outbox.remove(0);
        }
    }

    fn run(&mut self, now: Duration) {
        let at = instant(now);
        if self
            .host
            .poll_timeout()
            .is_some_and(|at| duration(at) <= now)
        {
            self.host.on_timeout(at);
        }
        while self.host.tcp_mut().poll_event().is_some() {}
        if let Some(listener) = self.listener
            && self.id.is_none()
        {
            self.id = self.host.tcp_mut().accept(listener).map(|(id, _)| id);
        }
        let Some(id) = self.id else { return };
        self.flush(now);
        while self.reads {
            match self.host.tcp_mut().read(at, id, 1 << 20) {
                Ok(Read::Data(data)) => self.received += data.len() as u64,
                Ok(Read::Eof) => {
                    self.has_eof = true;
                    break;
                }
                _ => break,
            }
        }
        self.wake = self.wake.filter(|wake| *wake > now);
        if let Some(mut app) = self.app.take() {
            app(&mut Socket {
                now,
                received: self.received,
                is_written: self.outbox.is_empty(),
                has_eof: self.has_eof,
                end: self,
            });
            self.app = Some(app);
        }
        if self.closes && self.outbox.is_empty() {
            self.closes = false;
            let _ = self.host.tcp_mut().shutdown(at, id);
        }
        if self.reboots {
            self.reboots = false;
            self.host = host(self.side, 4711, self.options);
            (self.id, self.listener) = (None, None);
        }
    }

    fn next(&self) -> Option<Duration> {
        let timer = self.host.poll_timeout().map(duration);
        timer.into_iter().chain(self.wake).min()
    }
}

fn host(side: usize, seed: u64, options: SocketOptions) -> Box<VirtualHost> {
    let mut secret = [side as u8; 32];
    secret[..8].copy_from_slice(&seed.to_le_bytes());
    let mut config = Config::new().address(ADDRESSES[side], 24).seed(secret);
    config.socket = options;
    let host = VirtualHost::new(config, Caps::plain(1500));
    Box::new(host.expect("the settings work"))
}

fn instant(at: Duration) -> Instant {
    Instant::ZERO + at
}

fn duration(at: Instant) -> Duration {
    at.saturating_since(Instant::ZERO)
}

/// What happens at some time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    at: Duration,
    number: usize,
    to: usize,
    data: Vec<u8>,
}

/// A conversation to be played.
pub(crate) struct Scene {
    pub(crate) seed: u64,
    pub(crate) round_trip: Duration,
    /// Where on the way from the client to the server it is recorded, and where the middlebox is.
    pub(crate) point: f64,
    pub(crate) middlebox: f64,
    pub(crate) options: [SocketOptions; 2],
    pub(crate) apps: [App; 2],
    pub(crate) rule: Rule,
    /// How long it is played, at most.
    pub(crate) until: Duration,
}

struct World {
    scene_rule: Rule,
    one_way: Duration,
    point: f64,
    middlebox: f64,
    events: BinaryHeap<Reverse<Event>>,
    number: usize,
    record: Vec<(Duration, usize, Vec<u8>)>,
}

impl World {
    fn due(&mut self, now: Duration) -> Option<Event> {
        let next = self.events.peek().filter(|Reverse(event)| event.at <= now);
        next.is_some()
            .then(|| self.events.pop())?
            .map(|Reverse(event)| event)
    }

    /// Takes what an end has to send.
    fn carry(&mut self, now: Duration, end: &mut End) {
        let mut tx = TxBatch::new();
        loop {
            end.host.poll_transmit(instant(now), &mut tx);
            if tx.is_empty() {
                return;
            }
            for frame in tx.iter() {
                self.send(now, end.side, &frame.to_frame().data);
            }
            tx.clear();
        }
    }

    fn send(&mut self, now: Duration, from: usize, data: &[u8]) {
        let from_here = |place: f64| if from == CLIENT { place } else { 1.0 - place };
        let (point, middlebox) = (from_here(self.point), from_here(self.middlebox));
        let passes = now + self.one_way.mul_f64(point);
        let is_before = point < middlebox;
        if is_before {
            self.note(passes, data);
        }
        let verdict = (self.scene_rule)(&Passing { now, from, data });
        let (late, data) = match verdict {
            Verdict::Pass => (Duration::ZERO, data.to_vec()),
            Verdict::Drop => return,
            Verdict::Late(by) => (by, data.to_vec()),
            Verdict::Changed(data) => (Duration::ZERO, data),
            Verdict::Inject(packets) => {
                for (to, packet) in packets {
                    self.inject(now + self.one_way.mul_f64(middlebox), to, packet);
                }
                (Duration::ZERO, data.to_vec())
            }
        };
        if !is_before {
            self.note(passes + late, &data);
        }
        self.deliver(now + self.one_way + late, 1 - from, data);
    }

    fn inject(&mut self, now: Duration, to: usize, data: Vec<u8>) {
        let place = |end: usize| if end == CLIENT { 0.0 } else { 1.0 };
        let way = self.one_way.mul_f64((place(to) - self.middlebox).abs());
        let sees = if to == CLIENT {
            self.point <= self.middlebox
        } else {
            self.point >= self.middlebox
        };
        if sees {
            let passes = self.one_way.mul_f64((self.point - self.middlebox).abs());
            self.note(now + passes, &data);
        }
        self.deliver(now + way, to, data);
    }

    fn note(&mut self, at: Duration, data: &[u8]) {
        self.number += 1;
        self.record.push((at, self.number, data.to_vec()));
    }

    fn deliver(&mut self, at: Duration, to: usize, data: Vec<u8>) {
        self.number += 1;
        let number = self.number;
        self.events.push(Reverse(Event {
            at,
            number,
            to,
            data,
        }));
    }
}

/// Plays a scene and answers with what was recorded.
pub(crate) fn play(scene: Scene) -> Vec<Packet> {
    let [client, server] = scene.apps;
    let mut ends = [
        End::new(CLIENT, scene.seed, scene.options[0], client),
        End::new(SERVER, scene.seed, scene.options[1], server),
    ];
    let mut world = World {
        scene_rule: scene.rule,
        one_way: scene.round_trip / 2,
        point: scene.point,
        middlebox: scene.middlebox,
        events: BinaryHeap::new(),
        number: 0,
        record: Vec::new(),
    };
    let mut now = Duration::from_millis(1);
    open(&mut ends, now);
    while now < scene.until {
        while let Some(event) = world.due(now) {
            ends[event.to].host.on_frame(instant(now), &event.data);
        }
        for end in &mut ends {
            end.run(now);
            world.carry(now, end);
        }
        let event = world.events.peek().map(|Reverse(event)| event.at);
        let Some(next) = ends.iter().filter_map(End::next).chain(event).min() else {
            break;
        };
        now = next.max(now + Duration::from_nanos(1));
    }
    packets(world.record)
}

/// The server listens, the client connects.
fn open(ends: &mut [End; 2], now: Duration) {
    let [client, server] = ends;
    let mut listen = ListenOptions::new((ADDRESSES[SERVER], PORT).into());
    listen.socket = server.options;
    server.listener = server.host.tcp_mut().listen(listen).ok();
    let local = (ADDRESSES[CLIENT], 0).into();
    let flow = FlowKey::new(local, (ADDRESSES[SERVER], PORT).into());
    let tcp = client.host.tcp_mut();
    let connected = tcp.connect(instant(now), flow, client.options);
    client.id = connected.ok().map(|(id, _)| id);
}

fn packets(mut record: Vec<(Duration, usize, Vec<u8>)>) -> Vec<Packet> {
    record.sort_by_key(|&(at, number, _)| (at, number));
    let start = record.first().map_or(Duration::ZERO, |(at, ..)| *at);
    let packets = (1..).zip(record).map(|(number, (at, _, data))| Packet {
        recorded: Recorded {
            number,
            time: at.saturating_sub(start),
            lost: false,
            data: data.into(),
        },
        cut: None,
    });
    packets.collect()
}

/// All reports of these packets.
pub(crate) fn explain(packets: &[Packet]) -> Vec<Report> {
    let mut explainer = Explainer::default();
    for packet in packets {
        explainer.on_packet(packet);
    }
    explainer.finish();
    std::iter::from_fn(|| explainer.poll_report()).collect()
}

/// All packets of a file of `pcaps`.
pub(crate) fn read(name: &str) -> Vec<Packet> {
    let mut reader = Reader::open(&pcaps(name)).unwrap_or_else(|error| panic!("{error}"));
    let mut packets = Vec::new();
    while let Some(packet) = reader
        .next_packet()
        .unwrap_or_else(|error| panic!("{error}"))
    {
        packets.push(packet);
    }
    packets
}

pub(crate) fn pcaps(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    folder.join(name).with_extension("pcapng")
}

/// The first three lines that are told of a conversation.
pub(crate) fn headline(report: &Report) -> String {
    let text = text::describe(report);
    text.lines().take(3).collect::<Vec<_>>().join("\n")
}

/// A conversation of a recording again, from another port and at another time.
pub(crate) fn again(packets: &[Packet], number: usize, count: usize) -> Vec<Packet> {
    let port = 1024 + (number % 60_000) as u16;
    let later = Duration::from_millis(10 * number as u64);
    let packets = packets.iter().enumerate().map(|(index, packet)| {
        let mut data = packet.recorded.data.to_vec();
        let at = if data[12..16] == [10, 88, 0, 1] {
            20
        } else {
            22
        };
        data[at..at + 2].copy_from_slice(&port.to_be_bytes());
        edit::finish(&mut data);
        Packet {
            recorded: Recorded {
                number: count + index + 1,
                time: packet.recorded.time + later,
                lost: false,
                data: data.into(),
            },
            cut: None,
        }
    });
    packets.collect()
}
