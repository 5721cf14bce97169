//! A peer that tests play by hand against one endpoint: segments in, segments out.
//!
//! Numbers are relative to the two ISNs, as in packetdrill: the first byte of either stream is 1.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::segment::{SackBlock, SackBlocks, SegmentOptions, SynOptions, Timestamps};
use ustack_tcp::seq::{WindowScale, WireSeq, WireWindow};
use ustack_tcp::testing::{Recorder, pattern};
use ustack_tcp::time::Instant;
use ustack_tcp::{
    Config, ConnId, Dropped, Ecn, Event, Flags, FlowKey, ListenOptions, ListenerId, Options, Read,
    Segment, SocketOptions, Tcp,
};

/// Where a test runs: address family and the ISN of either end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Net {
    pub(crate) ipv6: bool,
    pub(crate) isn: WireSeq,
}

/// Runs `test` over IPv4 and IPv6, with the ISNs of both ends amid the space and at its edges.
pub(crate) fn everywhere(test: impl Fn(Net)) {
    for ipv6 in [false, true] {
        for isn in [0x1234_5678, u32::MAX - 100, 0] {
            let net = Net {
                ipv6,
                isn: WireSeq(isn),
            };
            println!("{net:?}");
            test(net);
        }
    }
}

/// A segment of the peer's.
#[derive(Clone, Debug)]
pub(crate) struct Seg {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: Flags,
    pub(crate) len: usize,
    pub(crate) window: u16,
    pub(crate) ts: Option<(u32, u32)>,
    pub(crate) urgent: u16,
    pub(crate) ecn: Ecn,
}

/// `len` bytes from `seq` on, with ACK.
pub(crate) fn seg(seq: u32, len: usize, ack: u32) -> Seg {
    Seg {
        seq,
        ack,
        flags: Flags::ACK,
        len,
        window: 65_535,
        ts: None,
        urgent: 0,
        ecn: Ecn::NotEct,
    }
}

impl Seg {
    pub(crate) fn with(mut self, flags: Flags) -> Self {
        self.flags = self.flags | flags;
        self
    }

    pub(crate) fn only(mut self, flags: Flags) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) fn win(mut self, window: u16) -> Self {
        self.window = window;
        self
    }

    pub(crate) fn ts(mut self, val: u32, ecr: u32) -> Self {
        self.ts = Some((val, ecr));
        self
    }

    pub(crate) fn urgent(mut self, pointer: u16) -> Self {
        self.urgent = pointer;
        self.with(Flags::URG)
    }

    pub(crate) fn ecn(mut self, ecn: Ecn) -> Self {
        self.ecn = ecn;
        self
    }
}

/// A segment of the endpoint's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Out {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) len: usize,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) sack: Vec<(u32, u32)>,
    /// TSval since our first one, and TSecr as it is.
    pub(crate) ts: Option<(u32, u32)>,
    pub(crate) ecn: Ecn,
    pub(crate) urgent: u16,
}

impl Out {
    pub(crate) fn has(&self, flag: Flags) -> bool {
        self.flags.contains(flag)
    }
}

/// The SYN that tests open with: MSS 1000, SACK.
pub(crate) fn syn() -> SynOptions {
    SynOptions {
        mss: Some(1000),
        sack_permitted: true,
        ..SynOptions::default()
    }
}

/// [`syn`] with timestamps, the first one being 1000.
pub(crate) fn syn_with_ts() -> SynOptions {
    SynOptions {
        timestamps: Some(Timestamps {
            tsval: 1000,
            tsecr: 0,
        }),
        ..syn()
    }
}

/// An endpoint with one open connection, and its peer.
pub(crate) struct Peer {
    pub(crate) tcp: Tcp,
    pub(crate) now: Instant,
    pub(crate) flow: FlowKey,
    pub(crate) conn: ConnId,
    pub(crate) events: Vec<Event>,
    /// What [`Tcp::on_segment`] said last.
    pub(crate) outcome: Result<(), Dropped>,
    /// Our SYN,ACK.
    pub(crate) syn_ack: Segment,
    /// All that has left.
    pub(crate) all: Vec<Segment>,
    net: Net,
    listener: ListenerId,
    our_isn: WireSeq,
    our_ts: u32,
    mtu: u16,
    read: u64,
    written: u64,
}

impl Peer {
    /// A connection that the peer opened.
    pub(crate) fn open(net: Net) -> Self {
        Self::open_with(net, Config::default(), SocketOptions::default(), syn())
    }

    /// A connection that the peer opened with the options `syn`.
    pub(crate) fn open_with(
        net: Net,
        config: Config,
        socket: SocketOptions,
        syn: SynOptions,
    ) -> Self {
        Self::open_flagged(net, config, socket, syn, Flags::SYN)
    }

    /// As [`Peer::open_with`], the SYN bearing `flags`.
    pub(crate) fn open_flagged(
        net: Net,
        config: Config,
        socket: SocketOptions,
        syn: SynOptions,
        flags: Flags,
    ) -> Self {
        let mtu = if net.ipv6 { 1060 } else { 1040 };
        let mut config = config;
        config.mtu = mtu;
        let mut tcp = Tcp::new(config.clone(), [7; 32]);
        let (local, _) = addresses(net, 5000);
        let options = ListenOptions {
            socket,
            ..ListenOptions::new(local)
        };
        let listener = tcp.listen(options).expect("a free port");
        // ISNs follow a clock of 4 µs (RFC 9293 §3.4.1), so there is a time for each.
        let now = Instant::from_millis(1_000_000);
        let first = Self::handshake(net, 5000, tcp, listener, now, (syn, flags));
        let steps = net.isn.0.wrapping_sub(first.our_isn.0);
        let now = now + Duration::from_micros(4) * steps;
        let mut tcp = Tcp::new(config, [7; 32]);
        let listener = tcp.listen(options).expect("a free port");
        let peer = Self::handshake(net, 5000, tcp, listener, now, (syn, flags));
        assert_eq!(peer.our_isn, net.isn);
        peer
    }

    /// A second connection, from another port; the endpoint moves on to the peer of that one.
    pub(crate) fn open_another(self) -> Self {
        let (syn, flags) = (syn(), Flags::SYN);
        let port = self.flow.remote.port() + 1;
        Self::handshake(
            self.net,
            port,
            self.tcp,
            self.listener,
            self.now,
            (syn, flags),
        )
    }

    fn handshake(
        net: Net,
        port: u16,
        mut tcp: Tcp,
        listener: ListenerId,
        now: Instant,
        (syn, flags): (SynOptions, Flags),
    ) -> Self {
        let mtu = if net.ipv6 { 1060 } else { 1040 };
        let (local, remote) = addresses(net, port);
        let flow = FlowKey { local, remote };
        let first = wire(net.isn, WireSeq(0), &seg(0, 0, 0).only(flags), Some(syn));
        tcp.on_segment(now, &flow, true, Ecn::NotEct, first)
            .expect("the SYN");
        let syn_ack = transmit(&mut tcp, now, mtu).remove(0);
        let our_isn = syn_ack.segment.seq;
        let our_ts = syn_ack.segment.options.timestamps();
        let mut third = seg(1, 0, 1);
        third.ts = syn.timestamps.map(|ts| (ts.tsval, 0));
        let third = wire(net.isn, our_isn, &third, None);
        tcp.on_segment(now, &flow, true, Ecn::NotEct, third)
            .expect("the third");
        let (conn, _) = tcp.accept(listener).expect("a connection");
        let mut peer = Self {
            tcp,
            now,
            flow,
            conn,
            events: Vec::new(),
            outcome: Ok(()),
            all: vec![syn_ack.segment.clone()],
            syn_ack: syn_ack.segment,
            net,
            listener,
            our_isn,
            our_ts: our_ts.map_or(0, |ts| ts.tsval),
            mtu,
            read: 0,
            written: 0,
        };
        assert_eq!(peer.turn(), [], "nothing follows a handshake");
        peer
    }

    /// One segment arrives; what leaves at once.
    pub(crate) fn send(&mut self, seg: Seg) -> Vec<Out> {
        self.batch([seg])
    }

    /// Segments arrive in one turn; what leaves at its end.
    pub(crate) fn batch(&mut self, segs: impl IntoIterator<Item = Seg>) -> Vec<Out> {
        for seg in segs {
            let segment = wire(self.net.isn, self.our_isn, &seg, None);
            self.on_segment(seg.ecn, segment);
        }
        self.turn()
    }

    /// An ACK with one SACK block, in our numbers.
    pub(crate) fn sack(&mut self, seq: u32, ack: u32, (left, right): (u32, u32)) -> Vec<Out> {
        let mut segment = wire(self.net.isn, self.our_isn, &seg(seq, 0, ack), None);
        let block = SackBlock {
            left: self.our_isn.wrapping_add(left),
            right: self.our_isn.wrapping_add(right),
        };
        if let Options::Segment(options) = &mut segment.options {
            options.sack.push(block);
        }
        self.on_segment(Ecn::NotEct, segment);
        self.turn()
    }

    /// A segment made elsewhere arrives.
    pub(crate) fn on_segment(&mut self, ecn: Ecn, segment: Segment) {
        self.outcome = self
            .tcp
            .on_segment(self.now, &self.flow, true, ecn, segment);
    }

    /// Time passes; what leaves, and how long after the call.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<(Duration, Out)> {
        let (start, end) = (self.now, self.now + time);
        let mut sent: Vec<_> = self
            .turn()
            .into_iter()
            .map(|out| (Duration::ZERO, out))
            .collect();
        while let Some(next) = self.tcp.poll_timeout()
            && next <= end
        {
            self.now = self.now.max(next);
            let at = self.now - start;
            sent.extend(self.turn().into_iter().map(|out| (at, out)));
        }
        self.now = end;
        sent
    }

    /// Timers, events, transmissions.
    pub(crate) fn turn(&mut self) -> Vec<Out> {
        self.tcp.on_timeout(self.now);
        while let Some(event) = self.tcp.poll_event() {
            self.events.push(event);
        }
        let sent = transmit(&mut self.tcp, self.now, self.mtu);
        self.all
            .extend(sent.iter().map(|sent| sent.segment.clone()));
        sent.iter()
            .map(|sent| self.describe(&sent.segment, sent.ecn))
            .collect()
    }

    fn describe(&self, segment: &Segment, ecn: Ecn) -> Out {
        let (sack, ts) = match &segment.options {
            Options::Segment(options) => (options.sack.clone(), options.timestamps),
            Options::Syn(options) => (SackBlocks::new_const(), options.timestamps),
        };
        let theirs = |seq: WireSeq| seq.0.wrapping_sub(self.net.isn.0);
        Out {
            seq: segment.seq.0.wrapping_sub(self.our_isn.0),
            ack: theirs(segment.ack),
            len: segment.payload.len(),
            flags: segment.flags,
            window: segment.window.0,
            sack: sack
                .iter()
                .map(|block| (theirs(block.left), theirs(block.right)))
                .collect(),
            ts: ts.map(|ts| (ts.tsval.wrapping_sub(self.our_ts), ts.tsecr)),
            ecn,
            urgent: segment.urgent,
        }
    }

    /// Our first TSval plus `offset`, as the wire carries it.
    pub(crate) const fn echo(&self, offset: u32) -> u32 {
        self.our_ts.wrapping_add(offset)
    }

    /// A number of ours, as the wire carries it.
    pub(crate) const fn our_seq(&self, offset: u32) -> WireSeq {
        self.our_isn.wrapping_add(offset)
    }

    /// A segment as it arrives from IP.
    pub(crate) fn wire(&self, seg: &Seg) -> Segment {
        wire(self.net.isn, self.our_isn, seg, None)
    }

    pub(crate) fn info(&self) -> ustack_tcp::Info {
        self.tcp.info(self.now, self.conn).expect("open")
    }

    /// Queues the next `len` bytes of the pattern; what leaves.
    pub(crate) fn write(&mut self, len: usize) -> Vec<Out> {
        let data = pattern(self.written, len);
        assert_eq!(self.tcp.write(self.now, self.conn, &data), Ok(len));
        self.written += len as u64;
        self.turn()
    }

    /// Reads all there is, and checks every byte of it; how many.
    pub(crate) fn read(&mut self) -> usize {
        let mut total = 0;
        while let Ok(Read::Data(data)) = self.tcp.read(self.now, self.conn, 1 << 20) {
            self.check(&data);
            total += data.len();
        }
        total
    }

    /// Reads once, at most `max` bytes; how many there were.
    pub(crate) fn read_once(&mut self, max: usize) -> usize {
        match self.tcp.read(self.now, self.conn, max) {
            Ok(Read::Data(data)) => {
                self.check(&data);
                data.len()
            }
            _ => 0,
        }
    }

    fn check(&mut self, data: &Bytes) {
        assert_eq!(data, &pattern(self.read, data.len()), "at {}", self.read);
        self.read += data.len() as u64;
    }

    /// The state's name.
    pub(crate) fn state(&self) -> String {
        let flow = self.flow;
        let mut all = self.tcp.connections();
        all.find(|one| one.flow == flow)
            .map_or_else(|| "CLOSED".into(), |one| one.state.to_string())
    }
}

/// Our end and the peer's.
fn addresses(net: Net, port: u16) -> (SocketAddr, SocketAddr) {
    let address = |v4: &str, v6: &str| -> SocketAddr {
        if net.ipv6 { v6 } else { v4 }.parse().expect("an address")
    };
    let mut remote = address("10.0.0.2:0", "[fd00::2]:0");
    remote.set_port(port);
    (address("10.0.0.1:80", "[fd00::1]:80"), remote)
}

/// An ACK without text.
pub(crate) fn ack(number: u32) -> impl Fn(&Out) -> bool {
    move |out| out.len == 0 && out.ack == number && out.flags.0 & 0x3f == Flags::ACK.0
}

fn transmit(tcp: &mut Tcp, now: Instant, mtu: u16) -> Vec<ustack_tcp::testing::Sent> {
    let mut sent = Vec::new();
    while tcp.has_ready() {
        let mut recorder = Recorder {
            sent: Vec::new(),
            mtu,
            tso: true,
        };
        tcp.poll_transmit(now, &mut recorder);
        sent.append(&mut recorder.sent);
    }
    sent
}

/// The segment as it arrives from IP.
pub(crate) fn wire(isn: WireSeq, our_isn: WireSeq, seg: &Seg, syn: Option<SynOptions>) -> Segment {
    let timestamps = seg.ts.map(|(tsval, tsecr)| Timestamps { tsval, tsecr });
    Segment {
        seq: isn.wrapping_add(seg.seq),
        ack: our_isn.wrapping_add(seg.ack),
        window: WireWindow(seg.window),
        flags: seg.flags,
        options: match syn {
            Some(syn) => Options::Syn(syn),
            None if seg.flags.contains(Flags::SYN) => Options::Syn(SynOptions {
                timestamps,
                ..self::syn()
            }),
            None => Options::Segment(SegmentOptions {
                timestamps,
                ..SegmentOptions::default()
            }),
        },
        urgent: seg.urgent,
        mss: NonZeroU16::new(seg.len.min(1000) as u16).unwrap_or(NonZeroU16::MIN),
        payload: pattern(u64::from(seg.seq.wrapping_sub(1)), seg.len),
    }
}

/// A shift for a SYN's option.
pub(crate) const fn scale(shift: u8) -> WindowScale {
    WindowScale::new(shift)
}
