//! `ustack_tcp::Tcp` alone: segments in and out, no packet. Those of a turn that continue each other
//! come in as one, as IP hands them over.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use bytes::Bytes;
use ustack_tcp::seq::{WindowScale, WireSeq, WireWindow};
use ustack_tcp::time::Instant;
use ustack_tcp::{
    Config, ConnId, Ecn, Flags, FlowKey, Followers, ListenOptions, ListenerId, Options, Read,
    SocketOptions, Tcp, Transmit, TxMeta,
};

use super::{Needs, Subject};
use crate::peer::{self, ACK, MSS, SERVER, SYN, Segment};

/// `Tcp` without IP.
#[derive(Debug)]
pub struct Core {
    tcp: Box<Tcp>,
    listener: ListenerId,
    page: Bytes,
    /// What has arrived and has not been handed over: a segment, and those that continue it.
    arrived: Vec<Segment>,
    followers: Followers,
}

/// Bytes to write and to receive: one piece of memory with a count of its holders, as the buffer
/// of a device is.
pub(super) fn page() -> Bytes {
    Bytes::from(vec![0x5a; 64 << 10]).slice(..)
}

pub(super) fn config(needs: Needs) -> Config {
    let mut config = Config::default();
    config.tso = needs.offload;
    config.max_connections = needs.connections.max(1024) as usize;
    config.max_tw_buckets = needs.connections.max(1024) as usize;
    config.on_large_memory = Some(ustack::huge_pages::ask);
    config
}

pub(super) fn listen(tcp: &mut Tcp, needs: Needs) -> ListenerId {
    let mut options = ListenOptions::new(SERVER.into());
    options.socket = SocketOptions {
        recv_buffer: Some(needs.buffer),
        send_buffer: Some(needs.buffer),
        quickack: needs.acks_each,
        ..SocketOptions::default()
    };
    tcp.listen(options).expect("a free port")
}

pub(super) fn read_all(tcp: &mut Tcp, now: Instant, conn: ConnId) -> u32 {
    let take = |chunk| drop(black_box(chunk));
    match tcp.read_chunks(now, conn, usize::MAX, usize::MAX, take) {
        Ok(Read::Data(bytes)) => bytes as u32,
        _ => 0,
    }
}

impl Subject for Core {
    type Conn = ConnId;

    fn new(needs: Needs) -> Self {
        let mut tcp = Box::new(Tcp::new(config(needs), [7; 32]));
        let listener = listen(&mut tcp, needs);
        Self {
            tcp,
            listener,
            page: page(),
            arrived: Vec::new(),
            followers: Followers::default(),
        }
    }

    fn on_segment(&mut self, now: u64, segment: &Segment) {
        let continues = |last: &Segment| {
            let seq = last.end();
            *segment == Segment { seq, ..*last } && segment.flags == ACK && segment.len > 0
        };
        if !self.arrived.last().is_some_and(continues) {
            self.hand_over(now);
        }
        self.arrived.push(*segment);
    }

    fn settle(&mut self, now: u64) {
        self.hand_over(now);
        self.tcp.on_timeout(micros(now));
        while let Some(event) = self.tcp.poll_event() {
            black_box(event);
        }
    }

    fn transmit(&mut self, now: u64, sent: &mut Vec<Segment>) {
        self.tcp.poll_transmit(micros(now), &mut Sink(sent));
    }

    fn accept(&mut self) -> Option<ConnId> {
        self.tcp.accept(self.listener).map(|(id, _)| id)
    }

    fn read(&mut self, now: u64, conn: ConnId) -> u32 {
        read_all(&mut self.tcp, micros(now), conn)
    }

    fn write(&mut self, now: u64, conn: ConnId, len: u32) -> u32 {
        let data = self.page.slice(..len as usize);
        self.tcp.write(micros(now), conn, &data).unwrap_or(0) as u32
    }

    fn close(&mut self, now: u64, conn: ConnId) {
        self.tcp.release(micros(now), conn);
    }

    fn connections(&self) -> usize {
        self.tcp.connection_count()
    }
}

impl Core {
    /// To TCP with what has arrived: as one, if it will take it so.
    fn hand_over(&mut self, now: u64) {
        let [first, next @ ..] = &self.arrived[..] else {
            return;
        };
        let now = micros(now);
        if !next.is_empty() {
            self.followers.reset(0);
            for segment in next {
                let text = self.page.slice(..segment.len as usize);
                self.followers.push(text);
            }
            let (flow, segment) = parsed(first, &self.page);
            let all = &mut self.followers;
            if let Ok(()) = self.tcp.on_train(now, &flow, Ecn::NotEct, segment, all) {
                return self.arrived.clear();
            }
        }
        for segment in self.arrived.drain(..) {
            let (flow, segment) = parsed(&segment, &self.page);
            // What is dropped shows in the workload's own counts.
            let _ = self.tcp.on_segment(now, &flow, true, Ecn::NotEct, segment);
        }
    }
}

/// A segment as IP gives it, with its text from `page`.
fn parsed(segment: &Segment, page: &Bytes) -> (FlowKey, ustack_tcp::Segment) {
    let flow = FlowKey {
        local: SERVER.into(),
        remote: peer::client(segment.flow).into(),
    };
    let parsed = ustack_tcp::Segment {
        seq: WireSeq(segment.seq),
        ack: WireSeq(segment.ack),
        window: WireWindow(peer::WINDOW),
        flags: Flags(segment.flags.into()),
        options: options(segment.flags),
        payload: page.slice(..segment.len as usize),
        urgent: 0,
        mss: NonZeroU16::new(segment.len.min(MSS) as u16).unwrap_or(NonZeroU16::MIN),
    };
    (flow, parsed)
}

pub(super) const fn micros(now: u64) -> Instant {
    Instant::from_micros(now)
}

fn options(flags: u8) -> Options {
    if flags & SYN == 0 {
        return Options::none();
    }
    Options::Syn(ustack_tcp::segment::SynOptions {
        mss: Some(MSS as u16),
        window_scale: Some(WindowScale::new(7)),
        sack_permitted: true,
        ..Default::default()
    })
}

/// Takes segments, and drops their chunks.
struct Sink<'a>(&'a mut Vec<Segment>);

impl Transmit for Sink<'_> {
    fn budget(&self) -> usize {
        128 - self.0.len().min(128)
    }

    fn path_mtu(&self, _remote: IpAddr) -> u16 {
        1500
    }

    fn push(&mut self, meta: &TxMeta<'_>, payload: impl Iterator<Item = Bytes>) {
        let SocketAddr::V4(remote) = meta.flow.remote else {
            return;
        };
        let len = payload.map(|chunk| black_box(chunk).len() as u32).sum();
        self.0.push(Segment {
            flow: peer::flow(*remote.ip(), remote.port()),
            seq: meta.segment.seq.0,
            ack: meta.segment.ack.0,
            flags: meta.segment.flags.0 as u8,
            len,
        });
    }
}
