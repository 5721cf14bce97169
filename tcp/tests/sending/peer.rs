//! One endpoint, and a peer that the test plays: segments in, segments out, virtual time.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use bytes::Bytes;
use ustack_tcp::segment::{SackBlock, SegmentOptions, SynOptions, Timestamps};
use ustack_tcp::seq::{WindowScale, WireSeq, WireWindow};
use ustack_tcp::testing::pattern;
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{
    Config, ConnId, Ecn, Event, Flags, FlowKey, IcmpError, ListenOptions, Options, Pacing, Segment,
    SocketOptions, State, Tcp, Transmit, TxMeta,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// Bytes of IP and TCP header without options.
pub(crate) const fn overhead(ipv6: bool) -> u16 {
    if ipv6 { 60 } else { 40 }
}

/// What a connection is opened with.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub ipv6: bool,
    /// Both ends' ISN.
    pub(crate) isn: u32,
    pub(crate) config: Config,
    pub(crate) options: SocketOptions,
    /// The options of the peer's SYN.
    pub(crate) syn: SynOptions,
    /// The window of the peer's segments.
    pub(crate) win: u16,
}

impl Setup {
    /// MSS 1000 on both sides, SACK, windows that are not scaled.
    pub(crate) fn new(ipv6: bool, isn: u32) -> Self {
        let mut config = Config::default();
        config.mtu = 1000 + overhead(ipv6);
        config.pacing = Pacing::Off; // windows and timers alone say what leaves
        Self {
            ipv6,
            isn,
            config,
            options: SocketOptions::default(),
            syn: SynOptions {
                mss: Some(1000),
                window_scale: Some(WindowScale::new(0)),
                sack_permitted: true,
                ..SynOptions::default()
            },
            win: 65_535,
        }
    }

    /// `test` over IPv4 and IPv6, with both ISNs in the middle of the space, just before its end
    /// and at its beginning.
    pub(crate) fn each(test: impl Fn(Self)) {
        for ipv6 in [false, true] {
            for isn in [0x1234_5678, 0u32.wrapping_sub(100), 0] {
                test(Self::new(ipv6, isn));
            }
        }
    }

    /// The same with timestamps.
    pub(crate) fn timestamps(mut self) -> Self {
        self.syn.timestamps = Some(Timestamps {
            tsval: 1000,
            tsecr: 0,
        });
        self
    }

    pub(crate) fn options(mut self, change: impl FnOnce(&mut SocketOptions)) -> Self {
        change(&mut self.options);
        self
    }
}

/// A segment that left, with numbers relative to both ISNs.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) at: Instant,
    pub(crate) seq: i32,
    pub(crate) ack: i32,
    pub(crate) len: usize,
    pub(crate) flags: Flags,
    pub(crate) urgent: u16,
    pub(crate) options: Options,
    pub(crate) dscp: u8,
    pub(crate) ttl: Option<u8>,
    pub(crate) ecn: Ecn,
    /// Bytes of the IP packet.
    pub(crate) packet: u16,
}

impl Sent {
    pub(crate) fn has(&self, flag: Flags) -> bool {
        self.flags.contains(flag)
    }

    pub(crate) fn end(&self) -> i32 {
        self.seq + self.len as i32
    }
}

/// First number and payload length of each.
pub(crate) fn texts(sent: &[Sent]) -> Vec<(i32, usize)> {
    sent.iter().map(|sent| (sent.seq, sent.len)).collect()
}

#[derive(Debug)]
struct Pushed {
    segment: Segment<()>,
    len: usize,
    dscp: u8,
    ttl: Option<u8>,
    ecn: Ecn,
}

/// What IP does in these tests: it cuts super-segments and knows one path MTU.
#[derive(Debug)]
pub(crate) struct Ip {
    pub(crate) mtu: u16,
    /// What connections told it.
    pub(crate) reports: Vec<u16>,
    pub(crate) advice: usize,
    sent: Vec<Pushed>,
    stream: Vec<(WireSeq, Bytes)>,
}

impl Transmit for Ip {
    fn budget(&self) -> usize {
        100_000usize.saturating_sub(self.sent.len())
    }

    fn path_mtu(&self, _remote: IpAddr) -> u16 {
        self.mtu
    }

    fn lower_path_mtu(&mut self, _remote: IpAddr, mtu: u16) {
        self.reports.push(mtu);
        self.mtu = self.mtu.min(mtu);
    }

    fn on_negative_advice(&mut self, _remote: IpAddr) {
        self.advice += 1;
    }

    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>) {
        let mut bytes = Vec::new();
        payload.for_each(|chunk| bytes.extend_from_slice(&chunk));
        assert_eq!(bytes.len(), meta.payload_len as usize);
        let bytes = Bytes::from(bytes);
        self.stream.push((meta.segment.seq, bytes.clone()));
        let size = meta
            .gso_size
            .map_or(bytes.len().max(1), |size| usize::from(size.get()));
        let mut at = 0;
        loop {
            let end = (at + size).min(bytes.len());
            let mut segment = meta.segment.clone();
            segment.seq = segment.seq.wrapping_add(at as u32);
            if end < bytes.len() {
                segment.flags.0 &= !(Flags::FIN.0 | Flags::PSH.0);
            }
            self.sent.push(Pushed {
                segment,
                len: end - at,
                dscp: meta.dscp,
                ttl: meta.ttl.map(std::num::NonZero::get),
                ecn: meta.ecn,
            });
            at = end;
            if at >= bytes.len() {
                return;
            }
        }
    }
}

/// A connection under test.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) tcp: Tcp,
    pub(crate) id: ConnId,
    pub(crate) flow: FlowKey,
    pub(crate) now: Instant,
    pub(crate) ip: Ip,
    pub(crate) events: Vec<Event>,
    /// The window of the peer's segments.
    pub(crate) win: u16,
    /// What left and was not taken yet.
    pub(crate) sent: Vec<Sent>,
    ours: WireSeq,
    theirs: WireSeq,
    timestamps: Option<Timestamps>,
    pub(crate) written: u64,
}

fn address(ipv6: bool, host: u8, port: u16) -> SocketAddr {
    let ip = if ipv6 {
        format!("fd00::{host}")
    } else {
        format!("10.0.0.{host}")
    };
    SocketAddr::new(ip.parse().unwrap(), port)
}

impl Peer {
    /// The peer connects; the handshake takes 10 ms. What left of it stays in [`Peer::sent`].
    pub(crate) fn open(setup: &Setup) -> Self {
        let first = Instant::from_millis(1_000);
        // Our ISN follows a clock of 4 µs: the peer connects when it is the one that is asked for.
        let found = Self::try_open(setup, first).ours;
        let wait = Duration::from_micros(4) * setup.isn.wrapping_sub(found.0);
        let peer = Self::try_open(setup, first + wait);
        assert_eq!(peer.ours.0, setup.isn);
        peer
    }

    fn try_open(setup: &Setup, now: Instant) -> Self {
        let flow = FlowKey {
            local: address(setup.ipv6, 1, 80),
            remote: address(setup.ipv6, 2, 5000),
        };
        let mut tcp = Tcp::new(setup.config.clone(), [7; 32]);
        tcp.on_timeout(now);
        let mut listen = ListenOptions::new(flow.local);
        listen.socket = setup.options;
        let listener = tcp.listen(listen).unwrap();
        let theirs = WireSeq(setup.isn);
        let syn = Segment {
            seq: theirs,
            ack: WireSeq(0),
            window: WireWindow(setup.win),
            flags: Flags::SYN,
            options: Options::Syn(setup.syn),
            payload: Bytes::new(),
            urgent: 0,
            mss: NonZeroU16::MIN,
        };
        tcp.on_segment(now, &flow, true, Ecn::NotEct, syn).unwrap();
        let mut ip = Ip {
            mtu: setup.config.mtu,
            reports: Vec::new(),
            advice: 0,
            sent: Vec::new(),
            stream: Vec::new(),
        };
        tcp.poll_transmit(now, &mut ip);
        let ours = ip.sent[0].segment.seq;
        let id = tcp.connections().next().unwrap().id;
        let mut peer = Self {
            tcp,
            id,
            flow,
            now,
            ip,
            events: Vec::new(),
            win: setup.win,
            sent: Vec::new(),
            ours,
            theirs,
            timestamps: setup.syn.timestamps,
            written: 0,
        };
        peer.collect();
        peer.now += 10 * MS;
        peer.ack(1);
        peer.id = peer.tcp.accept(listener).expect("a connection").0;
        peer
    }

    /// A segment of the peer's; numbers are relative.
    pub(crate) fn segment(&self, flags: Flags, seq: i32, ack: i32, len: usize) -> Segment {
        Segment {
            seq: WireSeq(self.theirs.0.wrapping_add_signed(seq)),
            ack: WireSeq(self.ours.0.wrapping_add_signed(ack)),
            window: WireWindow(self.win),
            flags: flags | Flags::ACK,
            options: Options::Segment(SegmentOptions {
                timestamps: self.timestamps,
                ..SegmentOptions::default()
            }),
            payload: pattern(seq.max(1) as u64 - 1, len),
            urgent: 0,
            mss: NonZeroU16::new(len as u16).unwrap_or(NonZeroU16::MIN),
        }
    }

    /// It arrives, and a turn follows.
    pub(crate) fn recv(&mut self, segment: Segment) {
        let flow = self.flow;
        // Whether it was dropped shows in what leaves.
        let _ = self
            .tcp
            .on_segment(self.now, &flow, true, Ecn::NotEct, segment);
        self.turn();
    }

    /// An ACK up to `ack`.
    pub(crate) fn ack(&mut self, ack: i32) {
        self.recv(self.segment(Flags::NONE, 1, ack, 0));
    }

    /// A duplicate ACK of `ack` that SACKs these ranges.
    pub(crate) fn sack(&mut self, ack: i32, blocks: &[(i32, i32)]) {
        let mut segment = self.segment(Flags::NONE, 1, ack, 0);
        let wire = |n: i32| WireSeq(self.ours.0.wrapping_add_signed(n));
        let sack = blocks.iter().map(|&(left, right)| SackBlock {
            left: wire(left),
            right: wire(right),
        });
        segment.options = Options::Segment(SegmentOptions {
            timestamps: self.timestamps,
            sack: sack.collect(),
        });
        self.recv(segment);
    }

    /// ICMP says that the packet with this number did not fit.
    pub(crate) fn too_big(&mut self, seq: i32, mtu: u16) {
        self.icmp(seq, IcmpError::PacketTooBig { mtu });
    }

    /// An ICMP error about the packet with this number.
    pub(crate) fn icmp(&mut self, seq: i32, error: IcmpError) {
        let seq = WireSeq(self.ours.0.wrapping_add_signed(seq));
        let flow = self.flow;
        self.tcp.on_icmp_error(self.now, &flow, seq, error);
        self.turn();
    }

    /// Writes as much of `len` bytes as there is room for, and a turn follows.
    pub(crate) fn write(&mut self, len: usize) -> usize {
        let data = pattern(self.written, len);
        let taken = self.tcp.write(self.now, self.id, &data).expect("open");
        self.written += taken as u64;
        self.turn();
        taken
    }

    /// Keeps 64 KiB or so waiting to be sent.
    pub(crate) fn fill(&mut self) {
        let room = self.tcp.write_room(self.id).expect("open");
        self.write(room.min(64 << 10));
    }

    pub(crate) fn set(&mut self, change: impl FnOnce(&mut SocketOptions)) {
        self.tcp.set_options(self.now, self.id, change).unwrap();
        self.turn();
    }

    pub(crate) fn turn(&mut self) {
        self.tcp.on_timeout(self.now);
        while let Some(event) = self.tcp.poll_event() {
            self.events.push(event);
        }
        while self.tcp.has_ready() {
            self.tcp.poll_transmit(self.now, &mut self.ip);
            self.collect();
        }
        while let Some(event) = self.tcp.poll_event() {
            self.events.push(event);
        }
    }

    fn collect(&mut self) {
        let headers = if self.flow.is_ipv6() { 60 } else { 40 };
        for pushed in self.ip.sent.drain(..) {
            let segment = pushed.segment;
            let seq = segment.seq.0.wrapping_sub(self.ours.0) as i32;
            self.sent.push(Sent {
                at: self.now,
                seq,
                ack: segment.ack.0.wrapping_sub(self.theirs.0) as i32,
                len: pushed.len,
                flags: segment.flags,
                urgent: segment.urgent,
                packet: headers + segment.options.len() as u16 + pushed.len as u16,
                options: segment.options,
                dscp: pushed.dscp,
                ttl: pushed.ttl,
                ecn: pushed.ecn,
            });
        }
        for (seq, bytes) in self.ip.stream.drain(..) {
            if !bytes.is_empty() {
                let at = u64::from(seq.0.wrapping_sub(self.ours.0)) - 1;
                assert_eq!(bytes, pattern(at, bytes.len()), "bytes from {at} on");
            }
        }
    }

    /// What left since the last call.
    pub(crate) fn take(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn run(&mut self, time: Duration) -> Vec<Sent> {
        let end = self.now + time;
        while let Some(deadline) = self.tcp.poll_timeout()
            && deadline <= end
        {
            self.now = self.now.max(deadline);
            self.turn();
        }
        self.now = end;
        self.turn();
        self.take()
    }

    /// Lets time pass until something leaves, `most` at most.
    pub(crate) fn run_until_sent(&mut self, most: Duration) -> Vec<Sent> {
        let end = self.now + most;
        while self.sent.is_empty()
            && let Some(deadline) = self.tcp.poll_timeout()
            && deadline <= end
        {
            self.now = self.now.max(deadline);
            self.turn();
        }
        self.take()
    }

    pub(crate) fn state(&self) -> State {
        let found = self.tcp.connections().find(|c| c.flow == self.flow);
        found.map_or(State::Closed, |c| c.state)
    }

    /// Whether the application heard of the end.
    pub(crate) fn is_closed(&self) -> bool {
        let closed = |event: &Event| matches!(event, Event::Closed(id, _) if *id == self.id);
        self.events.iter().any(closed)
    }
}
