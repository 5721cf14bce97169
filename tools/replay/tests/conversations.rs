//! TCP captures against the stack. The replay itself checks every byte both ways and every
//! segment's numbers, window, options and checksum; each test says what else its capture is for.

mod common;

use std::path::Path;
use std::time::Duration;

use common::Stack;
use replay::conversation::Role;
use replay::divergence::Error;
use replay::stream::{self, Plan, Report};
use replay::{Reads, Services, capture, ports};
use ustack_tcp::State::{self, *};
use ustack_tcp::{CloseReason, CongestionAlgorithm, SocketError, SocketOptions};

fn read(name: &str) -> Vec<capture::Recorded> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps");
    capture::read(&folder.join(format!("{name}.pcapng"))).unwrap()
}

fn replay(name: &str, plan: &Plan) -> Report {
    stream::replay::<Stack>(&read(name), plan).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn as_server(name: &str) -> Report {
    replay(name, &Plan::new(Role::Server))
}

fn as_client(name: &str) -> Report {
    replay(name, &Plan::new(Role::Client))
}

/// The states were visited in this order, and no other.
fn visited(report: &Report, states: &[State]) {
    assert_eq!(report.states, states);
}

/// What a clean link calls for: nothing sent twice, and no frame kept waiting. One probe of the tail
/// is fair where the recorded client took its time over an ACK (RFC 8985 §7.2).
fn clean(report: &Report) {
    assert!(report.tally.retransmissions <= 1, "{:?}", report.tally);
    assert!(
        report.delay < Duration::from_millis(100),
        "frames waited {:?}",
        report.delay
    );
}

const CLOSED_BY_CLIENT: [State; 4] = [SynReceived, Established, CloseWait, LastAck];
const CLOSED_BY_SERVER: [State; 4] = [SynReceived, Established, FinWait1, TimeWait];
// The peer's FIN carries the ACK of ours, so FIN-WAIT-2 is over within one segment.
const CONNECTED_AND_CLOSED: [State; 4] = [SynSent, Established, FinWait1, TimeWait];
const CONNECTED_CLOSED_BY_PEER: [State; 4] = [SynSent, Established, CloseWait, LastAck];

#[test]
fn http_get() {
    let report = as_server("http-get");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    let syn = report.syn;
    assert_eq!(syn.mss, Some(1460));
    assert!(syn.sack_permitted && syn.timestamps.is_some() && syn.window_scale.is_some());
}

#[test]
fn http_get_as_client() {
    let report = as_client("http-get");
    visited(&report, &CONNECTED_AND_CLOSED);
    clean(&report);
}

#[test]
fn http_keepalive_ipv6() {
    let report = as_server("http-keepalive-ipv6");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert_eq!(report.syn.mss, Some(1440));
}

#[test]
fn http_keepalive_ipv6_as_client() {
    let report = as_client("http-keepalive-ipv6");
    visited(&report, &CONNECTED_AND_CLOSED);
    clean(&report);
}

#[test]
fn handshake_no_timestamps() {
    let report = as_server("handshake-no-timestamps");
    clean(&report);
    assert_eq!(report.syn.timestamps, None);
    assert!(report.syn.sack_permitted && report.syn.window_scale.is_some());
}

#[test]
fn handshake_no_sack() {
    let report = as_server("handshake-no-sack");
    clean(&report);
    assert!(!report.syn.sack_permitted && report.syn.timestamps.is_some());
}

#[test]
fn handshake_no_wscale() {
    let report = as_server("handshake-no-wscale");
    clean(&report);
    assert_eq!(report.syn.window_scale, None);
    assert!(report.syn.sack_permitted && report.syn.timestamps.is_some());
}

#[test]
fn handshake_bare() {
    let report = as_server("handshake-bare");
    clean(&report);
    let syn = report.syn;
    assert_eq!(
        (syn.window_scale, syn.timestamps, syn.sack_permitted),
        (None, None, false)
    );
}

#[test]
fn handshake_bare_as_client() {
    let report = as_client("handshake-bare");
    visited(&report, &CONNECTED_AND_CLOSED);
    clean(&report);
}

#[test]
fn handshake_ecn() {
    let report = as_server("handshake-ecn");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
}

#[test]
fn handshake_fastopen() {
    let report = as_server("handshake-fastopen");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert!(report.syn.timestamps.is_some() && report.syn.unknown.is_empty());
}

#[test]
fn handshake_small_mss() {
    let report = as_server("handshake-small-mss");
    clean(&report);
    let least = report.sent.div_ceil(536 - 12);
    assert!(
        report.tally.segments > least,
        "{} segments",
        report.tally.segments
    );
}

#[test]
fn upload() {
    let report = as_server("upload");
    visited(&report, &CLOSED_BY_SERVER);
    clean(&report);
    assert!(report.received > 60_000);
    // A receiver acknowledges at least every second segment (RFC 9293 SHLD-18).
    assert!(
        report.tally.segments > 60_000 / 1448 / 2,
        "{} segments",
        report.tally.segments
    );
}

#[test]
fn upload_as_client() {
    let report = as_client("upload");
    assert_eq!(report.states.first(), Some(&SynSent));
    clean(&report);
    assert!(report.sent > 60_000);
}

#[test]
fn download() {
    let report = as_server("download");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert!(report.sent > 60_000);
    // The initial window is ten segments (RFC 6928), and slow start goes on from there.
    assert!(
        report.tally.max_in_flight > 10 * 1448,
        "{}",
        report.tally.max_in_flight
    );
}

#[test]
fn download_as_client() {
    let report = as_client("download");
    visited(&report, &CONNECTED_AND_CLOSED);
    clean(&report);
    assert!(report.received > 60_000);
}

#[test]
fn server_closes() {
    let report = as_server("server-closes");
    assert!(report.states.ends_with(&[TimeWait]), "{:?}", report.states);
    assert!(
        report.states.starts_with(&CLOSED_BY_SERVER[..3]),
        "{:?}",
        report.states
    );
    clean(&report);
}

#[test]
fn server_closes_as_client() {
    let report = as_client("server-closes");
    visited(&report, &CONNECTED_CLOSED_BY_PEER);
    clean(&report);
}

#[test]
fn half_close() {
    let report = as_server("half-close");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert_eq!((report.received, report.sent), (20_000, 68 + 1));
}

#[test]
fn half_close_as_client() {
    let report = as_client("half-close");
    visited(
        &report,
        &[SynSent, Established, FinWait1, FinWait2, TimeWait],
    );
    clean(&report);
    assert_eq!((report.received, report.sent), (68, 20_000 + 1));
}

#[test]
fn interactive() {
    let report = as_server("interactive");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert_eq!(report.received, 56);
}

#[test]
fn reset_by_client() {
    let report = as_server("reset-by-client");
    assert_eq!(report.states, [SynReceived, Established]);
    let reset = CloseReason::Reset;
    let is_told = report.closed == Some(reset) || report.error == Some(SocketError::Closed(reset));
    assert!(is_told, "{:?}, {:?}", report.closed, report.error);
    assert!(!report.tally.reset);
}

#[test]
fn reset_by_server() {
    let plan = Plan {
        reads: Reads::Never,
        ..Plan::new(Role::Server)
    };
    let report = replay("reset-by-server", &plan);
    assert!(report.tally.reset);
}

#[test]
fn reset_by_server_as_client() {
    let report = as_client("reset-by-server");
    let reset = CloseReason::Reset;
    let is_told = report.closed == Some(reset) || report.error == Some(SocketError::Closed(reset));
    assert!(is_told, "{:?}, {:?}", report.closed, report.error);
}

/// Without listeners, every answer is the kernel's.
fn refuses(name: &str, address: &str, answers: usize) {
    let address = address.parse().unwrap();
    let report = ports::replay::<Stack>(&read(name), address, &[], Services::None).unwrap();
    assert_eq!((report.same, report.differences), (answers, vec![]));
}

#[test]
fn refused() {
    refuses("refused", "10.88.0.2", 1);
}

#[test]
fn refused_as_client() {
    assert_eq!(as_client("refused").closed, Some(CloseReason::Refused));
}

#[test]
fn refused_ipv6() {
    refuses("refused-ipv6", "fd88::2", 1);
}

#[test]
fn refused_ipv6_as_client() {
    assert_eq!(as_client("refused-ipv6").closed, Some(CloseReason::Refused));
}

#[test]
fn scan_closed_ports() {
    refuses("scan-closed-ports", "10.88.0.2", 10);
}

/// Holes that duplicate ACKs tell of are filled within a round trip or two, not by the timer.
fn recovered_fast(report: &Report, holes: usize) {
    assert!(report.tally.retransmissions >= holes, "{:?}", report.tally);
    assert!(
        report.delay < Duration::from_millis(100),
        "frames waited {:?}",
        report.delay
    );
}

#[test]
fn loss_download() {
    let report = as_server("loss-download");
    visited(&report, &CLOSED_BY_CLIENT);
    recovered_fast(&report, 2);
    // The recorded ACKs come when they may, not a round trip later: to RACK more looks lost than was.
    assert!(report.tally.retransmissions <= 16, "{:?}", report.tally);
}

#[test]
fn loss_download_no_sack() {
    let report = as_server("loss-download-no-sack");
    visited(&report, &CLOSED_BY_CLIENT);
    recovered_fast(&report, 1);
}

#[test]
fn loss_retransmission() {
    let report = as_server("loss-retransmission");
    assert!(report.tally.retransmissions >= 3, "{:?}", report.tally);
    assert!(
        report.delay < Duration::from_secs(3),
        "frames waited {:?}",
        report.delay
    );
}

#[test]
fn loss_retransmission_sack() {
    let report = as_server("loss-retransmission-sack");
    visited(&report, &CLOSED_BY_CLIENT);
    recovered_fast(&report, 2);
}

#[test]
fn loss_tail() {
    let report = as_server("loss-tail");
    assert!(report.tally.retransmissions >= 1, "{:?}", report.tally);
    assert!(
        report.delay < Duration::from_millis(500),
        "frames waited {:?}",
        report.delay
    );
}

#[test]
fn loss_syn_ack() {
    let report = as_server("loss-syn-ack");
    visited(&report, &CLOSED_BY_CLIENT);
    assert!(report.tally.retransmissions >= 1, "{:?}", report.tally);
}

#[test]
fn loss_fin() {
    let report = as_server("loss-fin");
    assert!(report.states.ends_with(&[TimeWait]), "{:?}", report.states);
    assert!(report.tally.retransmissions >= 1, "{:?}", report.tally);
    assert!(
        report.delay < Duration::from_secs(2),
        "frames waited {:?}",
        report.delay
    );
}

#[test]
fn loss_upload() {
    let report = as_server("loss-upload");
    visited(&report, &CLOSED_BY_SERVER);
    assert!(report.tally.sacks >= 3, "{:?}", report.tally);
}

#[test]
fn reorder_upload() {
    let report = as_server("reorder-upload");
    visited(&report, &CLOSED_BY_SERVER);
    assert!(
        report.tally.sacks >= 1 && report.tally.dsacks >= 2,
        "{:?}",
        report.tally
    );
}

#[test]
fn zero_window_client() {
    let report = as_server("zero-window-client");
    assert!(report.tally.probes >= 1, "{:?}", report.tally);
    assert_eq!(report.sent, 40_000 + 1);
}

#[test]
fn zero_window_server() {
    let socket = SocketOptions {
        recv_buffer: Some(10_136),
        ..SocketOptions::default()
    };
    let plan = Plan {
        reads: Reads::AsRecorded,
        socket,
        ..Plan::new(Role::Server)
    };
    let report = replay("zero-window-server", &plan);
    assert!(report.tally.zero_windows >= 1, "{:?}", report.tally);
    assert_eq!(report.received, 40_000);
}

#[test]
fn window_scaling() {
    let report = as_server("window-scaling");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert!(report.tally.max_in_flight > 65_535, "{:?}", report.tally);
}

#[test]
fn simultaneous_close() {
    let report = as_server("simultaneous-close");
    visited(
        &report,
        &[SynReceived, Established, FinWait1, Closing, TimeWait],
    );
    clean(&report);
}

#[test]
fn simultaneous_close_as_client() {
    let report = as_client("simultaneous-close");
    assert!(report.states.ends_with(&[TimeWait]) || report.states.ends_with(&[LastAck]));
    clean(&report);
}

#[test]
fn simultaneous_open_as_client() {
    let report = as_client("simultaneous-open");
    assert_eq!(report.states[..3], [SynSent, SynReceived, Established]);
    assert_eq!((report.received, report.sent), (15, 15 + 1));
}

#[test]
fn keepalive() {
    let report = as_server("keepalive");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert_eq!(report.received, 8);
    // SYN,ACK, the answer, two probes answered, the last bytes or FIN acknowledged, FIN.
    assert!(report.tally.segments >= 5, "{:?}", report.tally);
}

#[test]
fn urgent() {
    let report = as_server("urgent");
    visited(&report, &CLOSED_BY_CLIENT);
    clean(&report);
    assert_eq!(report.received, 14);
}

const ALL: [&str; 29] = [
    "http-get",
    "http-keepalive-ipv6",
    "handshake-no-timestamps",
    "handshake-no-sack",
    "handshake-no-wscale",
    "handshake-bare",
    "handshake-ecn",
    "handshake-fastopen",
    "handshake-small-mss",
    "upload",
    "download",
    "server-closes",
    "half-close",
    "interactive",
    "reset-by-client",
    "loss-download",
    "loss-download-no-sack",
    "loss-retransmission",
    "loss-retransmission-sack",
    "loss-tail",
    "loss-syn-ack",
    "loss-fin",
    "loss-upload",
    "reorder-upload",
    "zero-window-client",
    "window-scaling",
    "simultaneous-close",
    "keepalive",
    "urgent",
];

/// Wherever the peer's sequence numbers wrap, in the handshake, in the data or at the FIN.
#[test]
fn sequence_numbers_wrap_anywhere() {
    for name in ALL {
        for isn in [u32::MAX, 0, u32::MAX - 77, u32::MAX - 3000, 1 << 31] {
            replay(
                name,
                &Plan {
                    their_isn: Some(isn),
                    ..Plan::new(Role::Server)
                },
            );
        }
    }
}

/// NewReno serves every conversation as well as CUBIC does.
#[test]
fn reno_serves_them_all() {
    for name in ALL {
        let mut plan = Plan::new(Role::Server);
        plan.config.congestion = CongestionAlgorithm::Reno;
        replay(name, &plan);
    }
}

/// Small buffers make uploads wait for windows and downloads for acknowledgments.
#[test]
fn small_buffers_serve_them_all() {
    for name in ALL {
        let mut plan = Plan::new(Role::Server);
        plan.socket.recv_buffer = Some(8 << 10);
        plan.socket.send_buffer = Some(8 << 10);
        replay(name, &plan);
    }
}

#[test]
fn a_capture_with_a_hole_is_named() {
    let mut packets = read("upload");
    let data = packets
        .iter()
        .rposition(|packet| packet.data.len() == 1500)
        .unwrap();
    packets.remove(data);
    let error = stream::replay::<Stack>(&packets, &Plan::new(Role::Server)).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("never recorded"), "{error}");
}

#[test]
fn a_stack_that_refuses_is_named() {
    let mut plan = Plan::new(Role::Server);
    plan.config.max_connections = 0;
    let error = stream::replay::<Stack>(&read("http-get"), &plan).unwrap_err();
    let Error::Diverged(diverged) = &error else {
        panic!("{error}");
    };
    // Packet 3 acknowledges the SYN,ACK.
    assert_eq!(diverged.0.packet, 3, "{error}");
    assert_eq!(diverged.0.source, "RFC 9293 §3.5", "{error}");
}

/// Together the captures take a connection through every state it can be seen in.
#[test]
fn every_state_is_reached() {
    let mut reached = as_client("simultaneous-open").states;
    for name in ["half-close", "simultaneous-close"] {
        reached.extend(as_server(name).states);
        reached.extend(as_client(name).states);
    }
    for state in [
        SynSent,
        SynReceived,
        Established,
        FinWait1,
        FinWait2,
        CloseWait,
        Closing,
        LastAck,
        TimeWait,
    ] {
        assert!(
            reached.contains(&state),
            "{state} is in none of {reached:?}"
        );
    }
}
