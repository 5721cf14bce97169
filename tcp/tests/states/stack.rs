//! The same, by the stack: brings a connection into a state, plays the segment, looks.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::segment::SynOptions;
use ustack_tcp::seq::{WireSeq, WireWindow};
use ustack_tcp::testing::Recorder;
use ustack_tcp::time::Instant;
use ustack_tcp::{
    Config, ConnId, Ecn, Event, Flags, FlowKey, ListenOptions, ListenerId, Options, Read, Segment,
    SocketOptions, Tcp,
};

use crate::model::{Ack, Outcome, Reply, Seq, State};

/// Longer than a delayed ACK waits, shorter than any retransmission.
const PATIENCE: Duration = Duration::from_millis(60);
/// The round trip of the handshake, so that retransmission is far off.
const ROUND_TRIP: Duration = Duration::from_millis(200);
const TEXT: &[u8] = b"text";

struct Peer {
    tcp: Tcp,
    now: Instant,
    flow: FlowKey,
    listener: Option<ListenerId>,
    conn: Option<ConnId>,
    /// The peer's own number for what it sends next: RCV.NXT.
    rcv_nxt: WireSeq,
    snd_nxt: WireSeq,
    iss: WireSeq,
    /// The window that the stack offered last.
    window: u32,
    sent: Vec<Segment>,
}

/// What comes of one segment, or what is strange about it.
pub(crate) fn outcome(
    state: State,
    seq: Seq,
    ack: Ack,
    text: bool,
    flags: u16,
    ipv6: bool,
) -> Result<Outcome, String> {
    // Around the wrap of sequence numbers, and away from it.
    let irs = [u32::MAX - 50, 0, 0x1234_5678][usize::from(flags) % 3];
    let mut peer = Peer::new(ipv6, WireSeq(irs));
    peer.enter(state);
    peer.sent.clear();
    let text = if text { TEXT } else { b"" };
    let segment = Segment {
        seq: match seq {
            Seq::Left => WireSeq(peer.rcv_nxt.0.wrapping_sub(100)),
            Seq::Next => peer.rcv_nxt,
            Seq::In => peer.rcv_nxt.wrapping_add(100),
            Seq::Right => peer.rcv_nxt.wrapping_add(peer.window + 100),
        },
        ack: match (ack, state) {
            (Ack::Acceptable, _) => peer.snd_nxt,
            (Ack::Future, _) => peer.snd_nxt.wrapping_add(1),
            (Ack::Old, _) => WireSeq(peer.una().0.wrapping_sub(1)),
        },
        window: WireWindow(u16::MAX),
        flags: Flags(flags),
        options: if flags & Flags::SYN.0 != 0 {
            Options::Syn(SynOptions::default())
        } else {
            Options::none()
        },
        payload: Bytes::from_static(text),
        urgent: 0,
        mss: NonZeroU16::new(text.len() as u16).unwrap_or(NonZeroU16::MIN),
    };
    let (seg_seq, seg_ack, seg_len) = (segment.seq, segment.ack, segment.len());
    peer.arrive(segment);
    peer.wait(PATIENCE);
    let reply = peer.reply(seg_ack, seg_seq.wrapping_add(seg_len))?;
    let delivered = match peer.read() {
        read if read.is_empty() => false,
        read if read == text => true,
        read => return Err(format!("delivered {read:?}")),
    };
    let after = peer.state();
    Ok(Outcome {
        reply,
        after,
        delivered,
    })
}

impl Peer {
    fn new(ipv6: bool, irs: WireSeq) -> Self {
        let address = |v4: &str, v6: &str| -> SocketAddr {
            (if ipv6 { v6 } else { v4 }).parse().expect("an address")
        };
        Self {
            tcp: Tcp::new(Config::default(), [7; 32]),
            now: Instant::from_millis(1000),
            flow: FlowKey {
                local: address("10.0.0.1:80", "[fd00::1]:80"),
                remote: address("10.0.0.2:5000", "[fd00::2]:5000"),
            },
            listener: None,
            conn: None,
            rcv_nxt: irs,
            snd_nxt: WireSeq(0),
            iss: WireSeq(0),
            window: 65_535,
            sent: Vec::new(),
        }
    }

    fn una(&self) -> WireSeq {
        match self.state() {
            State::FinWait1 | State::Closing | State::LastAck => self.iss.wrapping_add(1),
            State::SynSent | State::SynReceived => self.iss,
            _ => self.snd_nxt,
        }
    }

    /// The way to `state` by calls and segments.
    fn enter(&mut self, state: State) {
        match state {
            State::Closed => {}
            State::Listen => self.listen(),
            State::SynSent => self.connect(),
            State::SynReceived => {
                self.listen();
                self.send(Flags::SYN);
            }
            State::Established => {
                self.connect();
                self.wait(ROUND_TRIP);
                self.send(Flags::SYN | Flags::ACK);
            }
            State::FinWait1 => {
                self.enter(State::Established);
                self.shutdown();
            }
            State::FinWait2 => {
                self.enter(State::FinWait1);
                self.send(Flags::ACK);
            }
            State::CloseWait => {
                self.enter(State::Established);
                self.send(Flags::FIN | Flags::ACK);
            }
            State::Closing => {
                self.enter(State::Established);
                let before = self.snd_nxt;
                self.shutdown();
                let after = std::mem::replace(&mut self.snd_nxt, before);
                self.send(Flags::FIN | Flags::ACK);
                self.snd_nxt = after;
            }
            State::LastAck => {
                self.enter(State::CloseWait);
                self.shutdown();
            }
            State::TimeWait => {
                self.enter(State::FinWait2);
                self.send(Flags::FIN | Flags::ACK);
            }
        }
        self.wait(PATIENCE); // what is owed for the way itself
        assert_eq!(self.state(), state);
    }

    fn listen(&mut self) {
        let options = ListenOptions::new(self.flow.local);
        self.listener = Some(self.tcp.listen(options).expect("a free port"));
    }

    fn connect(&mut self) {
        let opened = self
            .tcp
            .connect(self.now, self.flow, SocketOptions::default());
        self.conn = Some(opened.expect("a free flow").0);
        self.turn();
        self.snd_nxt = self.iss.wrapping_add(1);
    }

    fn shutdown(&mut self) {
        let conn = self.conn.expect("a connection");
        self.tcp.shutdown(self.now, conn).expect("it is open");
        self.turn();
        self.snd_nxt = self.snd_nxt.wrapping_add(1);
    }

    /// A segment of the peer's that is in order and acknowledges SND.NXT.
    fn send(&mut self, flags: Flags) {
        let syn = flags.contains(Flags::SYN);
        let segment = Segment {
            seq: self.rcv_nxt,
            ack: self.snd_nxt,
            window: WireWindow(u16::MAX),
            flags,
            options: if syn {
                Options::Syn(SynOptions::default())
            } else {
                Options::none()
            },
            payload: Bytes::new(),
            urgent: 0,
            mss: NonZeroU16::MIN,
        };
        self.rcv_nxt = self.rcv_nxt.wrapping_add(segment.len());
        self.arrive(segment);
        if flags == Flags::SYN {
            self.snd_nxt = self.iss.wrapping_add(1);
        }
    }

    fn arrive(&mut self, segment: Segment) {
        // Dropped or not: what counts is what leaves, and the state.
        let _ = self
            .tcp
            .on_segment(self.now, &self.flow, true, Ecn::NotEct, segment);
        self.turn();
    }

    fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.tcp.poll_timeout()
            && at <= until
        {
            self.now = self.now.max(at);
            self.turn();
        }
        self.now = until;
    }

    fn turn(&mut self) {
        self.tcp.on_timeout(self.now);
        while let Some(event) = self.tcp.poll_event() {
            if let Event::Accepted(listener) = event {
                self.conn = self.tcp.accept(listener).map(|(conn, _)| conn);
            }
        }
        while self.tcp.has_ready() {
            let mut recorder = Recorder {
                sent: Vec::new(),
                mtu: 1500,
                tso: false,
            };
            self.tcp.poll_transmit(self.now, &mut recorder);
            self.sent
                .extend(recorder.sent.into_iter().map(|sent| sent.segment));
        }
        for segment in &self.sent {
            if segment.has(Flags::SYN) {
                self.iss = segment.seq;
            }
            if !segment.has(Flags::RST) {
                self.window = u32::from(segment.window.0);
            }
        }
    }

    fn read(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        if let Some(conn) = self.conn {
            while let Ok(Read::Data(data)) = self.tcp.read(self.now, conn, 1 << 16) {
                all.extend_from_slice(&data);
            }
        }
        all
    }

    fn state(&self) -> State {
        let found = self.tcp.connections().find(|found| found.flow == self.flow);
        match found.map(|found| found.state) {
            Some(ustack_tcp::State::SynSent) => State::SynSent,
            Some(ustack_tcp::State::SynReceived) => State::SynReceived,
            Some(ustack_tcp::State::Established) => State::Established,
            Some(ustack_tcp::State::FinWait1) => State::FinWait1,
            Some(ustack_tcp::State::FinWait2) => State::FinWait2,
            Some(ustack_tcp::State::CloseWait) => State::CloseWait,
            Some(ustack_tcp::State::Closing) => State::Closing,
            Some(ustack_tcp::State::LastAck) => State::LastAck,
            Some(ustack_tcp::State::TimeWait) => State::TimeWait,
            _ if self.listener.is_some() => State::Listen,
            _ => State::Closed,
        }
    }

    /// What left, with its numbers checked.
    fn reply(&self, seg_ack: WireSeq, seg_end: WireSeq) -> Result<Reply, String> {
        let [sent] = &self.sent[..] else {
            return if self.sent.is_empty() {
                Ok(Reply::Nothing)
            } else {
                Err(format!(
                    "{} segments left: {:?}",
                    self.sent.len(),
                    self.sent
                ))
            };
        };
        let ecn = Flags::ECE.0 | Flags::CWR.0 | Flags::AE.0;
        let is = |flags: Flags| sent.flags.0 & !ecn == flags.0;
        if is(Flags::ACK) && sent.seq == self.snd_nxt && sent.payload.is_empty() {
            Ok(Reply::Ack)
        } else if is(Flags::SYN | Flags::ACK) && sent.seq == self.iss {
            Ok(Reply::SynAck)
        } else if is(Flags::RST) && sent.seq == seg_ack {
            Ok(Reply::Reset)
        } else if is(Flags::RST | Flags::ACK) && sent.seq == WireSeq(0) && sent.ack == seg_end {
            Ok(Reply::ResetAck)
        } else {
            Err(format!("left: {sent:?}"))
        }
    }
}
