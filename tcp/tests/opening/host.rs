//! One endpoint and the peers that a test plays: segments in, segments out, virtual time.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use bytes::Bytes;
use ustack_tcp::segment::{FastOpen, SegmentOptions, SynOptions, Timestamps};
use ustack_tcp::seq::{WindowScale, WireSeq, WireWindow};
use ustack_tcp::testing::{Recorder, Sent, pattern};
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{
    CloseReason, Config, ConnId, Dropped, Ecn, Event, Flags, FlowKey, IcmpError, ListenOptions,
    ListenerId, Options, Read, Segment, SocketError, SocketOptions, State, Tcp, Transmit, TxMeta,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// SYN without ACK, and with.
pub(crate) const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);
pub(crate) const ECN_SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

/// The host under test.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) tcp: Tcp,
    pub(crate) now: Instant,
    pub(crate) ipv6: bool,
    /// Where both ends of [`Host::peer`] begin to count.
    pub(crate) isn: u32,
    pub(crate) events: Vec<Event>,
    mtu: u16,
    sent: Vec<(Instant, Sent)>,
}

/// A peer: its end of one flow.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) flow: FlowKey,
    pub(crate) isn: WireSeq,
    pub(crate) syn: SynOptions,
    pub(crate) win: u16,
    /// Our ISN, once a SYN of ours was seen.
    pub(crate) ours: WireSeq,
    /// Our TSval in that SYN.
    pub(crate) our_tsval: u32,
}

/// Takes what leaves without a look at its bytes, for tests of many packets.
#[derive(Debug, Default)]
pub(crate) struct Sink(pub(crate) Vec<Segment<()>>);

impl Transmit for Sink {
    fn budget(&self) -> usize {
        1_000
    }

    fn path_mtu(&self, _remote: IpAddr) -> u16 {
        1500
    }

    fn push(&mut self, meta: &TxMeta<'_>, _payload: impl Iterator<Item = Bytes>) {
        self.0.push(meta.segment.clone());
    }
}

pub(crate) fn address(ipv6: bool, host: u16, port: u16) -> SocketAddr {
    let ip = if ipv6 {
        format!("fd00::{host:x}")
    } else {
        format!("10.0.{}.{}", host >> 8, host & 255)
    };
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// Runs `test` over IPv4 and IPv6, with ISNs in the middle of the space, at its end and beginning.
pub(crate) fn each(test: impl Fn(Host)) {
    each_with(&Config::default(), test);
}

pub(crate) fn each_with(config: &Config, test: impl Fn(Host)) {
    for ipv6 in [false, true] {
        for isn in [0x1234_5678, 0u32.wrapping_sub(100), 0] {
            test(Host::new(ipv6, isn, config));
        }
    }
}

impl Host {
    /// A host whose clock stands where our ISN towards [`Host::peer`] is `isn`.
    pub(crate) fn new(ipv6: bool, isn: u32, config: &Config) -> Self {
        let first = Instant::from_millis(1_000);
        let mut probe = Self::at(first, ipv6, isn, config);
        let flow = probe.peer().flow;
        probe
            .tcp
            .connect(first, flow, SocketOptions::default())
            .unwrap();
        let found = probe.one().seq;
        let wait = Duration::from_micros(4) * isn.wrapping_sub(found.0);
        Self::at(first + wait, ipv6, isn, config)
    }

    fn at(now: Instant, ipv6: bool, isn: u32, config: &Config) -> Self {
        let mut config = config.clone();
        config.mtu = if ipv6 { 1060 } else { 1040 };
        let mut tcp = Tcp::new(config.clone(), [7; 32]);
        tcp.on_timeout(now);
        Self {
            tcp,
            now,
            ipv6,
            isn,
            events: Vec::new(),
            mtu: config.mtu,
            sent: Vec::new(),
        }
    }

    pub(crate) fn local(&self) -> SocketAddr {
        address(self.ipv6, 1, 80)
    }

    /// The peer whose flow the ISN is chosen for.
    pub(crate) fn peer(&self) -> Peer {
        self.nth_peer(5000)
    }

    /// The peer with this port.
    pub(crate) fn nth_peer(&self, port: u16) -> Peer {
        Peer {
            flow: FlowKey::new(self.local(), address(self.ipv6, 2, port)),
            isn: WireSeq(self.isn),
            syn: SynOptions {
                mss: Some(1000),
                ..SynOptions::default()
            },
            win: 65_535,
            ours: WireSeq(0),
            our_tsval: 0,
        }
    }

    pub(crate) fn listen(&mut self, change: impl FnOnce(&mut ListenOptions)) -> ListenerId {
        let mut options = ListenOptions::new(self.local());
        change(&mut options);
        self.tcp.listen(options).unwrap()
    }

    /// A segment arrives, and a turn follows.
    pub(crate) fn recv(&mut self, peer: &Peer, segment: Segment) -> Result<(), Dropped> {
        let done = self
            .tcp
            .on_segment(self.now, &peer.flow, true, Ecn::NotEct, segment);
        self.turn();
        done
    }

    /// One of a flood: what it is answered with, unread.
    pub(crate) fn flood(
        &mut self,
        peer: &Peer,
        segment: Segment,
    ) -> (Result<(), Dropped>, Vec<Segment<()>>) {
        let done = self
            .tcp
            .on_segment(self.now, &peer.flow, true, Ecn::NotEct, segment);
        while self.tcp.poll_event().is_some() {}
        (done, self.drain())
    }

    /// What leaves, its bytes unread.
    pub(crate) fn drain(&mut self) -> Vec<Segment<()>> {
        let mut sink = Sink::default();
        self.tcp.poll_transmit(self.now, &mut sink);
        sink.0
    }

    /// ICMP says something about the packet with this number of ours.
    pub(crate) fn icmp(&mut self, peer: &Peer, seq: WireSeq, error: IcmpError) {
        self.tcp.on_icmp_error(self.now, &peer.flow, seq, error);
        self.turn();
    }

    pub(crate) fn turn(&mut self) {
        self.tcp.on_timeout(self.now);
        self.collect();
        while self.tcp.has_ready() {
            let mut recorder = Recorder {
                sent: Vec::new(),
                mtu: self.mtu,
                tso: false,
            };
            self.tcp.poll_transmit(self.now, &mut recorder);
            let now = self.now;
            self.sent
                .extend(recorder.sent.into_iter().map(|sent| (now, sent)));
        }
        self.collect();
    }

    fn collect(&mut self) {
        while let Some(event) = self.tcp.poll_event() {
            self.events.push(event);
        }
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        self.turn();
        while let Some(deadline) = self.tcp.poll_timeout()
            && deadline <= end
        {
            self.now = self.now.max(deadline);
            self.turn();
        }
        self.now = end;
        self.turn();
    }

    /// What left since the last call, and when.
    pub(crate) fn take(&mut self) -> Vec<(Instant, Segment)> {
        self.turn();
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter()
            .map(|(at, sent)| (at, sent.segment))
            .collect()
    }

    /// The same with their flows.
    pub(crate) fn take_flows(&mut self) -> Vec<(FlowKey, Segment)> {
        self.turn();
        let sent = std::mem::take(&mut self.sent);
        sent.into_iter()
            .map(|(_, sent)| (sent.flow, sent.segment))
            .collect()
    }

    /// The one segment that left.
    #[track_caller]
    pub(crate) fn one(&mut self) -> Segment {
        let mut sent = self.take();
        assert_eq!(sent.len(), 1, "one segment, please: {sent:?}");
        sent.remove(0).1
    }

    /// Nothing left.
    #[track_caller]
    pub(crate) fn none(&mut self) {
        let sent = self.take();
        assert!(sent.is_empty(), "nothing, please: {sent:?}");
    }

    /// The peer's SYN, and our answer, which it remembers.
    #[track_caller]
    pub(crate) fn syn(&mut self, peer: &mut Peer) -> Segment {
        self.recv(peer, peer.syn_segment()).unwrap();
        let answer = self.one();
        assert!(answer.has(SYN_ACK), "{answer:?}");
        peer.note(&answer);
        answer
    }

    /// The peer connects; our id of the connection, accepted.
    #[track_caller]
    pub(crate) fn open(&mut self, listener: ListenerId, peer: &mut Peer) -> ConnId {
        self.syn(peer);
        self.pass(10 * MS);
        self.recv(peer, peer.ack()).unwrap();
        self.tcp.accept(listener).expect("a connection").0
    }

    /// We connect to the peer; our SYN, which it remembers.
    pub(crate) fn connect(&mut self, peer: &mut Peer, options: SocketOptions) -> (ConnId, Segment) {
        let (id, _) = self.tcp.connect(self.now, peer.flow, options).unwrap();
        let syn = self.one();
        peer.note(&syn);
        (id, syn)
    }

    pub(crate) fn state(&self, peer: &Peer) -> State {
        let mut connections = self.tcp.connections();
        // One that has ended may still be held by its application.
        let found = connections.find(|c| c.flow == peer.flow && c.state != State::Closed);
        found.map_or(State::Closed, |c| c.state)
    }

    pub(crate) fn uses_ecn(&self, peer: &Peer) -> bool {
        self.tcp.connections().any(|c| c.flow == peer.flow && c.ecn)
    }

    /// Why the connection ended, if it did.
    pub(crate) fn closed(&self, id: ConnId) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Closed(other, reason) if *other == id => Some(*reason),
            _ => None,
        })
    }

    /// How many bytes of the pattern can be read.
    pub(crate) fn read(&mut self, id: ConnId) -> usize {
        let mut read = 0;
        while let Read::Data(data) = self.tcp.read(self.now, id, usize::MAX).unwrap() {
            assert_eq!(data, pattern(read as u64, data.len()));
            read += data.len();
        }
        read
    }

    /// The same up to the error at its end.
    pub(crate) fn read_until_error(&mut self, id: ConnId) -> (usize, CloseReason) {
        let mut read = 0;
        loop {
            match self.tcp.read(self.now, id, usize::MAX) {
                Ok(Read::Data(data)) => read += data.len(),
                Err(SocketError::Closed(reason)) => return (read, reason),
                other => panic!("no error: {other:?}"),
            }
        }
    }
}

impl Peer {
    pub(crate) fn with_timestamps(mut self, tsval: u32) -> Self {
        self.syn.timestamps = Some(Timestamps { tsval, tsecr: 0 });
        self.syn.sack_permitted = true;
        self.syn.window_scale = Some(WindowScale::new(7));
        self
    }

    pub(crate) fn with_cookie(mut self, cookie: FastOpen) -> Self {
        self.syn.fast_open = Some(cookie);
        self
    }

    /// A SYN of ours was seen.
    pub(crate) fn note(&mut self, syn: &Segment) {
        self.ours = syn.seq;
        self.our_tsval = syn.options.timestamps().map_or(0, |ts| ts.tsval);
    }

    pub(crate) fn syn_segment(&self) -> Segment {
        Segment {
            seq: self.isn,
            ack: WireSeq(0),
            window: WireWindow(self.win),
            flags: Flags::SYN,
            options: Options::Syn(self.syn),
            payload: Bytes::new(),
            urgent: 0,
            mss: NonZeroU16::MIN,
        }
    }

    pub(crate) fn syn_with_data(&self, len: usize) -> Segment {
        Segment {
            payload: pattern(0, len),
            ..self.syn_segment()
        }
    }

    /// The SYN,ACK for our SYN and `data` bytes of ours that came with it.
    pub(crate) fn syn_ack(&self, data: u32) -> Segment {
        let mut options = self.syn;
        if let Some(ts) = &mut options.timestamps {
            ts.tsecr = self.our_tsval;
        }
        Segment {
            ack: self.ours.wrapping_add(1 + data),
            flags: SYN_ACK,
            options: Options::Syn(options),
            ..self.syn_segment()
        }
    }

    /// Any other segment; numbers are relative to both ISNs.
    pub(crate) fn segment(&self, flags: Flags, seq: i32, ack: i32, len: usize) -> Segment {
        let timestamps = self.syn.timestamps.map(|ts| Timestamps {
            tsval: ts.tsval + 1,
            tsecr: self.our_tsval,
        });
        let acks = flags.contains(Flags::ACK);
        Segment {
            seq: WireSeq(self.isn.0.wrapping_add_signed(seq)),
            ack: if acks {
                WireSeq(self.ours.0.wrapping_add_signed(ack))
            } else {
                WireSeq(0)
            },
            window: WireWindow(self.win),
            flags,
            options: Options::Segment(SegmentOptions {
                timestamps,
                ..SegmentOptions::default()
            }),
            payload: pattern(seq.max(1) as u64 - 1, len),
            urgent: 0,
            mss: NonZeroU16::new(len as u16).unwrap_or(NonZeroU16::MIN),
        }
    }

    /// The ACK that completes a handshake.
    pub(crate) fn ack(&self) -> Segment {
        self.segment(Flags::ACK, 1, 1, 0)
    }

    /// What `segment` says relative to both ISNs: flags, sequence number, acknowledgment, length.
    pub(crate) fn relative(&self, segment: &Segment) -> (Flags, i32, i32, usize) {
        let ack = if segment.has(Flags::ACK) {
            segment.ack.0.wrapping_sub(self.isn.0) as i32
        } else {
            segment.ack.0 as i32
        };
        let seq = segment.seq.0.wrapping_sub(self.ours.0) as i32;
        (segment.flags, seq, ack, segment.payload.len())
    }
}
