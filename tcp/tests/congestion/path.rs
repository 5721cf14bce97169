//! One sender on a path that a test scripts: which transmissions are lost or marked, how long the
//! round trip is, how the receiver acknowledges. Everything is seen from the wire.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::segment::{SackBlock, SegmentOptions, SynOptions, Timestamps};
use ustack_tcp::seq::{SeqNum, WindowScale, WireSeq, WireWindow};
use ustack_tcp::testing::Recorder;
use ustack_tcp::time::Instant;
use ustack_tcp::{
    Config, CongestionAlgorithm, ConnId, Ecn, Flags, FlowKey, ListenOptions, ListenerId, Options,
    Pacing, Segment, SocketOptions, Tcp,
};

/// Payload of a full segment, so that numbers are round.
pub(crate) const MSS: u32 = 1_000;

const TIMESTAMPS: Timestamps = Timestamps { tsval: 1, tsecr: 0 };

const PEER_ISN: WireSeq = WireSeq(u32::MAX - 100);

/// A segment with data, as it left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    /// When.
    pub(crate) at: Instant,
    /// The how-manieth transmission it is, from 0.
    pub(crate) number: usize,
    /// Its first byte, counted from 0.
    pub(crate) offset: u64,
    pub(crate) len: u32,
    /// All of it had left before.
    pub(crate) again: bool,
    /// Its timestamp, where the peer uses them.
    pub(crate) tsval: Option<u32>,
}

type Script<T> = Box<dyn FnMut(&Packet) -> T>;

pub(crate) struct Path {
    pub(crate) tcp: Tcp,
    pub(crate) id: ConnId,
    pub(crate) now: Instant,
    /// Every segment with data that left, oldest first.
    pub(crate) sent: Vec<Packet>,
    /// From the transmission to the arrival of its ACK; ACKs do not overtake each other.
    pub(crate) rtt: Script<Duration>,
    /// ACKs arrive this far apart at least, as behind a link of limited rate.
    pub(crate) gap: Duration,
    /// Whether the path loses it.
    pub(crate) lose: Script<bool>,
    /// How much later than others it reaches the receiver.
    pub(crate) late: Script<Duration>,
    /// Whether its ACK says that the path is congested (ECE).
    pub(crate) echo: Script<bool>,
    /// One ACK for all that leaves at once, as a receiver with GRO sends.
    pub(crate) merge: bool,
    /// So many ACKs per segment, each for a part of it, as a receiver sends who wants more.
    pub(crate) split: u64,
    /// The application always has more to send: `queue` bytes wait in the send buffer.
    pub(crate) bulk: bool,
    pub(crate) queue: u32,
    mtu: u16,
    flow: FlowKey,
    isn: WireSeq,
    /// What the receiver has: in order up to here, and above.
    received: u64,
    acknowledged: u64,
    above: BTreeMap<u64, u64>,
    newest: u64,
    duplicate: Option<(u64, u64)>,
    /// Late segments, by arrival.
    waiting: BTreeMap<(Instant, usize), Packet>,
    /// ACKs on their way, by arrival.
    acks: BTreeMap<(Instant, usize, u64), Segment>,
    last_arrival: Instant,
    nxt: u64,
    una: u64,
}

pub(crate) fn config(congestion: CongestionAlgorithm) -> Config {
    let mut config = Config::default();
    config.mtu = 1_040;
    config.congestion = congestion;
    config.pacing = Pacing::Off; // what leaves at once is the window
    config.rto_min = Duration::from_secs(1); // no timeout but for a second of silence
    config
}

impl Path {
    /// An accepted connection over a path of `rtt` that loses nothing, with nothing sent yet.
    pub(crate) fn new(config: Config, ipv6: bool, rtt: Duration) -> Self {
        Self::open(config, ipv6, rtt, None, Flags::SYN)
    }

    /// The same between two that know ECN.
    pub(crate) fn with_ecn(config: Config, ipv6: bool, rtt: Duration) -> Self {
        let syn = Flags::SYN | Flags::ECE | Flags::CWR;
        Self::open(config, ipv6, rtt, None, syn)
    }

    /// The same with timestamps: what was sent again has a round trip, too.
    pub(crate) fn with_timestamps(mut config: Config, rtt: Duration) -> Self {
        config.mtu += 12;
        Self::open(config, false, rtt, Some(TIMESTAMPS), Flags::SYN)
    }

    fn open(
        mut config: Config,
        ipv6: bool,
        rtt: Duration,
        timestamps: Option<Timestamps>,
        flags: Flags,
    ) -> Self {
        if ipv6 {
            config.mtu += 20;
        }
        let mtu = config.mtu;
        let (mut tcp, flow, listener, now) = listen(config, ipv6);
        let syn = Options::Syn(SynOptions {
            mss: Some(u16::MAX),
            window_scale: Some(WindowScale::MAX),
            sack_permitted: true,
            timestamps,
            ..Default::default()
        });
        let syn = segment(PEER_ISN, WireSeq(0), flags, syn);
        tcp.on_segment(now, &flow, true, Ecn::NotEct, syn)
            .expect("a good SYN");
        let syn_ack = transmit(&mut tcp, now, mtu).remove(0);
        let isn = syn_ack.seq;
        let tsval = syn_ack.options.timestamps().map(|ts| ts.tsval);
        let ack = segment(
            PEER_ISN.wrapping_add(1),
            isn.wrapping_add(1),
            Flags::ACK,
            Options::Segment(options(tsval)),
        );
        let now = now + rtt;
        tcp.on_segment(now, &flow, true, Ecn::NotEct, ack)
            .expect("a good ACK");
        let (id, _) = tcp.accept(listener).expect("a connection");
        Self {
            tcp,
            id,
            now,
            sent: Vec::new(),
            rtt: Box::new(move |_| rtt),
            gap: Duration::ZERO,
            lose: Box::new(|_| false),
            late: Box::new(|_| Duration::ZERO),
            echo: Box::new(|_| false),
            merge: false,
            split: 1,
            bulk: false,
            queue: 512 << 10,
            mtu,
            flow,
            isn,
            received: 0,
            acknowledged: 0,
            above: BTreeMap::new(),
            newest: 0,
            duplicate: None,
            waiting: BTreeMap::new(),
            acks: BTreeMap::new(),
            last_arrival: Instant::ZERO,
            nxt: 0,
            una: 0,
        }
    }

    /// An accepted connection that always has something to send.
    pub(crate) fn bulk(config: Config, ipv6: bool, rtt: Duration) -> Self {
        let mut path = Self::new(config, ipv6, rtt);
        path.bulk = true;
        path
    }

    /// Bytes that left and are not acknowledged.
    pub(crate) fn flight(&self) -> u64 {
        self.nxt - self.una
    }

    /// [`Path::flight`] in whole segments.
    pub(crate) fn segments(&self) -> u32 {
        (self.flight() / u64::from(MSS)) as u32
    }

    pub(crate) fn write(&mut self, bytes: usize) {
        let data = Bytes::from(vec![0; bytes]);
        let taken = self.tcp.write(self.now, self.id, &data).expect("write");
        assert_eq!(taken, bytes, "the send buffer is large enough");
        self.transmit();
    }

    /// Lets time pass up to `end`.
    pub(crate) fn run_until(&mut self, end: Instant) {
        self.transmit();
        while let Some(next) = self.next_at()
            && next <= end
        {
            self.step();
        }
        self.now = self.now.max(end);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Runs until `done`, and says so if that does not happen within ten minutes.
    pub(crate) fn run_to(&mut self, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now + Duration::from_secs(600);
        self.transmit();
        while !done(self) {
            assert!(self.now < end && self.next_at().is_some(), "it never came");
            self.step();
        }
    }

    /// Runs until everything that has left by now is acknowledged: a round trip.
    pub(crate) fn run_round(&mut self) {
        self.transmit();
        let end = self.nxt;
        self.run_to(|path| path.una >= end);
    }

    /// The application writes `segments` each round trip, and waits.
    pub(crate) fn trickle(&mut self, segments: u32, time: Duration) {
        self.bulk = false;
        self.run_to(|path| path.flight() == 0 && path.tcp.queued(path.id).unsent == 0);
        let end = self.now + time;
        while self.now < end {
            self.write((segments * MSS) as usize);
            self.run_round();
        }
    }

    /// The application sends no more than `segments` at once for a while; then the first of
    /// them is lost, and repaired.
    pub(crate) fn lose_from_flight_of(&mut self, segments: u32) {
        self.trickle(segments, Duration::from_secs(3));
        let first = self.sent.len();
        self.lose = Box::new(move |sent| sent.number == first);
        self.write((segments * MSS) as usize);
        self.run_to(|path| path.flight() == 0);
    }

    /// The application sends no more than `segments` at once for a while; then each ACK of such a
    /// flight bears ECE. Returns what leaves at once afterwards.
    pub(crate) fn mark_flight_of(&mut self, segments: u32) -> u32 {
        self.trickle(segments, Duration::from_secs(3));
        self.echo = Box::new(|_| true);
        self.write((segments * MSS) as usize);
        self.run_to(|path| path.flight() == 0);
        self.burst()
    }

    /// The application has much to send again: what leaves at once, in segments.
    pub(crate) fn burst(&mut self) -> u32 {
        assert_eq!(self.flight(), 0);
        self.bulk = true;
        self.transmit();
        self.segments()
    }

    /// Loses the next segment that leaves for the first time, and repairs that. Returns what was
    /// in flight when the loss was noticed, in segments.
    pub(crate) fn lose_one(&mut self) -> u32 {
        let next = self.sent.len();
        let mut lost = false;
        self.lose = Box::new(move |sent| {
            let now = !lost && sent.number >= next && !sent.again;
            lost |= now;
            now
        });
        self.run_to(|path| {
            path.sent[next.min(path.sent.len())..]
                .iter()
                .any(|sent| sent.again)
        });
        let (flight, end) = (self.segments(), self.nxt);
        self.run_to(|path| path.una >= end);
        flight
    }

    fn next_at(&self) -> Option<Instant> {
        let ack = self.acks.keys().next().map(|(at, ..)| *at);
        let late = self.waiting.keys().next().map(|(at, _)| *at);
        [ack, late, self.tcp.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next ACK or deadline; true if it was an ACK.
    pub(crate) fn step(&mut self) -> bool {
        let next = self.next_at().expect("something to come");
        self.now = self.now.max(next);
        let mut acked = false;
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= self.now
        {
            let packet = entry.remove();
            self.arrive(&packet);
            self.acknowledge(&packet);
        }
        if let Some(entry) = self.acks.first_entry()
            && entry.key().0 <= self.now
        {
            let ack = entry.remove();
            let first = SeqNum::first(self.isn) + 1u32;
            let una = first.expand(ack.ack) - first;
            self.una = self.una.max(u64::from(una));
            self.tcp
                .on_segment(self.now, &self.flow, true, Ecn::NotEct, ack)
                .expect("a good ACK");
            acked = true;
        }
        self.tcp.on_timeout(self.now);
        self.transmit();
        acked
    }

    /// What may leave leaves, and reaches the receiver.
    pub(crate) fn transmit(&mut self) {
        while self.bulk && self.tcp.queued(self.id).unsent < self.queue {
            let data = Bytes::from(vec![0; 64 << 10]);
            self.tcp.write(self.now, self.id, &data).expect("write");
        }
        while self.tcp.poll_event().is_some() {}
        let mut burst = None;
        for segment in transmit(&mut self.tcp, self.now, self.mtu) {
            burst = self.on_sent(&segment).or(burst);
        }
        if let Some(packet) = burst.filter(|_| self.merge) {
            self.acknowledge(&packet);
        }
    }

    /// A segment left; it, if it arrived.
    fn on_sent(&mut self, segment: &Segment) -> Option<Packet> {
        if segment.payload.is_empty() {
            return None;
        }
        let first = SeqNum::first(self.isn) + 1u32;
        let offset = u64::from(first.expand(segment.seq) - first);
        let end = offset + segment.payload.len() as u64;
        let again = end <= self.nxt;
        self.nxt = self.nxt.max(end);
        let packet = Packet {
            at: self.now,
            number: self.sent.len(),
            offset,
            len: segment.payload.len() as u32,
            again,
            tsval: segment.options.timestamps().map(|ts| ts.tsval),
        };
        self.sent.push(packet);
        if (self.lose)(&packet) {
            return None;
        }
        let late = (self.late)(&packet);
        if late > Duration::ZERO {
            self.waiting
                .insert((self.now + late, packet.number), packet);
            return None;
        }
        self.arrive(&packet);
        if !self.merge {
            self.acknowledge(&packet);
        }
        Some(packet)
    }

    /// The receiver has it, perhaps for the second time.
    fn arrive(&mut self, packet: &Packet) {
        let (offset, end) = (packet.offset, packet.offset + u64::from(packet.len));
        let held = |(&start, &past): (&u64, &u64)| start <= offset && end <= past;
        if end <= self.received || self.above.iter().any(held) {
            self.duplicate = Some((offset, end));
            return;
        }
        self.newest = offset;
        self.above
            .entry(offset)
            .and_modify(|old| *old = end.max(*old))
            .or_insert(end);
        while let Some(entry) = self.above.first_entry()
            && *entry.key() <= self.received
        {
            self.received = self.received.max(entry.remove());
        }
    }

    /// The receiver's ACK for what it has now: a duplicate (D-SACK) first, then the newest block.
    fn acknowledge(&mut self, packet: &Packet) {
        let at = (self.now + (self.rtt)(packet)).max(self.last_arrival + self.gap);
        self.last_arrival = at;
        let base = self.isn.wrapping_add(1);
        let mut blocks: Vec<(u64, u64)> = Vec::new();
        for (&start, &end) in &self.above {
            match blocks.last_mut() {
                Some(last) if last.1 == start => last.1 = end,
                _ => blocks.push((start, end)),
            }
        }
        let newest = self.newest;
        blocks.sort_by_key(|block| (!(block.0..block.1).contains(&newest), block.0));
        let mut options = options(packet.tsval);
        let duplicate = self.duplicate.take();
        for (start, end) in duplicate.into_iter().chain(blocks).take(4) {
            options.sack.push(SackBlock {
                left: base.wrapping_add(start as u32),
                right: base.wrapping_add(end as u32),
            });
        }
        let flags = if (self.echo)(packet) {
            Flags::ACK | Flags::ECE
        } else {
            Flags::ACK
        };
        let before = self.acknowledged;
        self.acknowledged = self.received;
        for part in 1..=self.split {
            let received = before + (self.received - before) * part / self.split;
            let ack = segment(
                PEER_ISN.wrapping_add(1),
                base.wrapping_add(received as u32),
                flags,
                Options::Segment(options.clone()),
            );
            self.acks.insert((at, packet.number, part), ack);
        }
    }
}

fn listen(config: Config, ipv6: bool) -> (Tcp, FlowKey, ListenerId, Instant) {
    let address = |v4: &str, v6: &str| -> SocketAddr {
        if ipv6 { v6 } else { v4 }.parse().expect("an address")
    };
    let flow = FlowKey {
        local: address("10.0.0.1:80", "[fd00::1]:80"),
        remote: address("10.0.0.2:5000", "[fd00::2]:5000"),
    };
    let mut tcp = Tcp::new(config, [7; 32]);
    let mut options = ListenOptions::new(flow.local);
    options.socket = SocketOptions {
        send_buffer: Some(64 << 20),
        nodelay: true,
        ..SocketOptions::default()
    };
    let listener = tcp.listen(options).expect("the address is free");
    (tcp, flow, listener, Instant::from_millis(1_000))
}

/// The receiver's clock stands still: only its echo matters.
fn options(echo: Option<u32>) -> SegmentOptions {
    SegmentOptions {
        timestamps: echo.map(|tsecr| Timestamps {
            tsecr,
            ..TIMESTAMPS
        }),
        ..Default::default()
    }
}

fn segment(seq: WireSeq, ack: WireSeq, flags: Flags, options: Options) -> Segment {
    Segment {
        seq,
        ack,
        window: WireWindow(u16::MAX),
        flags,
        options,
        payload: Bytes::new(),
        urgent: 0,
        mss: NonZeroU16::MIN,
    }
}

fn transmit(tcp: &mut Tcp, now: Instant, mtu: u16) -> Vec<Segment> {
    let mut sent = Vec::new();
    while tcp.has_ready() {
        let mut recorder = Recorder {
            sent: Vec::new(),
            mtu,
            tso: true,
        };
        tcp.poll_transmit(now, &mut recorder);
        sent.extend(recorder.sent.into_iter().map(|sent| sent.segment));
    }
    sent
}
