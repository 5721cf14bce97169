//! ICMP errors about segments of an open connection, `SO_ERROR`, `SO_LINGER`.

use std::time::Duration;

use covers::covers;
use ustack_tcp::seq::WireSeq;
use ustack_tcp::{
    CloseReason, Config, Event, Flags, FlowKey, IcmpError, Read, SocketError, SocketOptions, Tcp,
};

use crate::peer::{Peer, everywhere, seg, syn};

const SOFT: [IcmpError; 7] = [
    IcmpError::NetUnreachable,
    IcmpError::HostUnreachable,
    IcmpError::ProtocolUnreachable,
    IcmpError::PortUnreachable,
    IcmpError::Prohibited,
    IcmpError::TimeExceeded,
    IcmpError::ParameterProblem,
];

fn icmp(peer: &mut Peer, offset: u32, error: IcmpError) {
    let seq = peer.our_seq(offset);
    let flow = peer.flow;
    peer.tcp.on_icmp_error(peer.now, &flow, seq, error);
}

#[test]
#[covers("MUST-56", "SHLD-25", "SHLD-26", "MUST-47", "SHLD-20", "MUST-54")]
fn no_error_ends_an_open_connection_and_each_can_be_read_once() {
    everywhere(|net| {
        for error in SOFT {
            let mut peer = Peer::open(net);
            peer.write(1000);
            icmp(&mut peer, 1, error);
            assert_eq!(peer.turn(), []);
            assert_eq!(peer.state(), "ESTABLISHED", "{error:?}");
            // Who does not ask goes on undisturbed.
            assert_eq!(peer.tcp.read(peer.now, peer.conn, 1), Ok(Read::Empty));
            let ended = |event: &Event| matches!(event, Event::Closed(..));
            assert!(!peer.events.iter().any(ended));
            peer.send(seg(1, 100, 1001));
            assert_eq!(peer.read(), 100);
            assert_eq!(
                peer.tcp.take_error(peer.conn),
                Some(SocketError::Icmp(error))
            );
            assert_eq!(peer.tcp.take_error(peer.conn), None, "told once");
        }
    });
}

/// It reaches the connection whose segment is quoted, and only if that is in flight.
#[test]
#[covers("MUST-54", "BL-8")]
fn an_error_about_nothing_in_flight_is_no_error() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.write(1000);
        for offset in [0, 1001, 500_000] {
            icmp(&mut peer, offset, IcmpError::HostUnreachable);
            assert_eq!(peer.tcp.take_error(peer.conn), None, "{offset}");
        }
        let (seq, mut flow) = (peer.our_seq(1), peer.flow);
        flow.remote.set_port(9);
        peer.tcp
            .on_icmp_error(peer.now, &flow, seq, IcmpError::HostUnreachable);
        assert_eq!(peer.tcp.take_error(peer.conn), None);
        icmp(&mut peer, 1000, IcmpError::HostUnreachable);
        assert!(peer.tcp.take_error(peer.conn).is_some());
    });
}

/// What kind of trouble there was is what a timeout is called, unless the path has worked since.
#[test]
#[covers("MUST-47", "SHLD-25")]
fn a_timeout_after_an_error_says_unreachable() {
    everywhere(|net| {
        for healed in [false, true] {
            let socket = SocketOptions {
                user_timeout: Some(Duration::from_secs(20)),
                ..SocketOptions::default()
            };
            let mut peer = Peer::open_with(net, Config::default(), socket, syn());
            peer.write(2000);
            icmp(&mut peer, 1, IcmpError::HostUnreachable);
            if healed {
                peer.send(seg(1, 0, 1001));
            }
            peer.wait(Duration::from_secs(60));
            let reason = if healed {
                CloseReason::TimedOut
            } else {
                CloseReason::Unreachable
            };
            assert!(peer.events.contains(&Event::Closed(peer.conn, reason)));
            let end = Some(SocketError::Closed(reason));
            assert_eq!(peer.tcp.take_error(peer.conn), end);
        }
    });
}

#[test]
#[covers("SHLD-26")]
fn a_hard_error_refuses_an_attempt() {
    for (local, remote) in [
        ("10.0.0.1:0", "10.0.0.2:80"),
        ("[fd00::1]:0", "[fd00::2]:80"),
    ] {
        let parse = |text: &str| text.parse().expect("an address");
        let flow = FlowKey::new(parse(local), parse(remote));
        for error in [IcmpError::PortUnreachable, IcmpError::ProtocolUnreachable] {
            let mut tcp = Tcp::new(Config::default(), [3; 32]);
            let now = ustack_tcp::time::Instant::from_millis(1000);
            let (conn, flow) = tcp
                .connect(now, flow, SocketOptions::default())
                .expect("a port");
            let mut recorder = ustack_tcp::testing::Recorder {
                mtu: 1500,
                ..ustack_tcp::testing::Recorder::default()
            };
            tcp.poll_transmit(now, &mut recorder);
            let syn = recorder.sent[0].segment.seq;
            let wrong = WireSeq(syn.0.wrapping_sub(1));
            tcp.on_icmp_error(now, &flow, wrong, error);
            assert_eq!(tcp.poll_event(), None, "a forged quote");
            tcp.on_icmp_error(now, &flow, syn, error);
            let refused = Event::Closed(conn, CloseReason::Refused);
            assert_eq!(tcp.poll_event(), Some(refused));
        }
    }
}

#[test]
#[covers("MUST-12")]
fn a_reset_is_told_once_and_a_fin_is_no_error() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.send(seg(1, 0, 1).only(Flags::RST));
        let reset = SocketError::Closed(CloseReason::Reset);
        assert_eq!(peer.tcp.take_error(peer.conn), Some(reset));
        assert_eq!(peer.tcp.take_error(peer.conn), None);
        assert_eq!(peer.tcp.read(peer.now, peer.conn, 1), Err(reset));
        let mut peer = Peer::open(net);
        peer.send(seg(1, 0, 1).with(Flags::FIN));
        assert_eq!(peer.tcp.take_error(peer.conn), None);
        assert_eq!(peer.tcp.read(peer.now, peer.conn, 1), Ok(Read::Eof));
    });
}

#[test]
fn a_linger_of_zero_resets() {
    everywhere(|net| {
        for (seconds, resets) in [(None, false), (Some(0), true), (Some(5), false)] {
            let socket = SocketOptions {
                linger: seconds.map(Duration::from_secs),
                ..SocketOptions::default()
            };
            let mut peer = Peer::open_with(net, Config::default(), socket, syn());
            peer.write(100);
            peer.tcp.release(peer.now, peer.conn);
            let out = peer.turn();
            assert_eq!(out.iter().any(|out| out.has(Flags::RST)), resets);
            assert_eq!(peer.state() == "CLOSED", resets, "{seconds:?}");
        }
    });
}
