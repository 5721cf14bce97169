//! Connections that the server closed first and whose clients have answered: nothing but records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use bytes::Bytes;
use ustack_tcp::segment::SynOptions;
use ustack_tcp::seq::{WindowScale, WireSeq, WireWindow};
use ustack_tcp::time::Instant;
use ustack_tcp::{
    Config, Ecn, Flags, FlowKey, ListenOptions, Options, Segment, State, Tcp, Transmit, TxMeta,
};

use super::Size;

/// What so many records take, with table entry and timer.
pub(super) fn measure(connections: u32, is_v6: bool) -> Size {
    super::measure(connections, || records(connections, is_v6))
}

fn records(connections: u32, is_v6: bool) -> Tcp {
    let mut config = Config::default();
    config.max_tw_buckets = connections as usize;
    let mut tcp = Tcp::new(config, [7; 32]);
    let local = address(is_v6, 0, 80);
    let listener = tcp.listen(ListenOptions::new(local)).expect("a free port");
    let mut now = Instant::from_millis(1);
    for number in 0..connections {
        now += std::time::Duration::from_micros(1);
        let remote = address(is_v6, 1 + number / 60_000, 1024 + (number % 60_000) as u16);
        let flow = FlowKey { local, remote };
        let iss = exchange(&mut tcp, now, &flow, segment(Flags::SYN, 0, 0));
        exchange(&mut tcp, now, &flow, segment(Flags::ACK, 1, iss + 1));
        let (id, _) = tcp.accept(listener).expect("a connection");
        tcp.release(now, id);
        tcp.poll_transmit(now, &mut Last(0));
        exchange(
            &mut tcp,
            now,
            &flow,
            segment(Flags::FIN | Flags::ACK, 1, iss + 2),
        );
        while tcp.poll_event().is_some() {}
    }
    let waiting = tcp.connections().filter(|one| one.state == State::TimeWait);
    assert_eq!(waiting.count(), connections as usize);
    tcp
}

/// Delivers a segment; the sequence number of what it is answered by.
fn exchange(tcp: &mut Tcp, now: Instant, flow: &FlowKey, segment: Segment) -> u32 {
    tcp.on_segment(now, flow, true, Ecn::NotEct, segment)
        .expect("a segment in order");
    let mut last = Last(0);
    tcp.poll_transmit(now, &mut last);
    last.0
}

fn address(is_v6: bool, host: u32, port: u16) -> SocketAddr {
    let ip = if is_v6 {
        IpAddr::V6(Ipv6Addr::from_bits((0xfd << 120) + u128::from(host) + 1))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0001 + host))
    };
    (ip, port).into()
}

fn segment(flags: Flags, seq: u32, ack: u32) -> Segment {
    let options = if flags.contains(Flags::SYN) {
        Options::Syn(SynOptions {
            mss: Some(1460),
            window_scale: Some(WindowScale::new(7)),
            sack_permitted: true,
            ..SynOptions::default()
        })
    } else {
        Options::none()
    };
    Segment {
        seq: WireSeq(seq),
        ack: WireSeq(ack),
        window: WireWindow(512),
        flags,
        options,
        payload: Bytes::new(),
        urgent: 0,
        mss: NonZeroU16::MIN,
    }
}

/// Remembers the number of the last segment.
struct Last(u32);

impl Transmit for Last {
    fn budget(&self) -> usize {
        16
    }

    fn path_mtu(&self, _remote: IpAddr) -> u16 {
        1500
    }

    fn push(&mut self, meta: &TxMeta<'_>, _payload: impl Iterator<Item = Bytes>) {
        self.0 = meta.segment.seq.0;
    }
}
