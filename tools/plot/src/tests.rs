//! Pages of event logs, ordinary and awkward ones.

use std::fmt::Write as _;
use std::net::SocketAddr;

use figures::Stroke;

use super::*;
use crate::page::Window;
use crate::series::{self, extents, rate};
use crate::trace::{Kind, Segment};

const START: &str =
    "{\"event\":\"start\",\"schema\":1,\"version\":\"0.1.0\",\"epoch_ns\":0,\"shards\":1}\n";
const FLOW: &str = "\"shard\":0,\"local\":\"10.0.0.2:80\",\"remote\":\"10.0.0.1:4000\"";

fn read(log: &str) -> Result<Log, ReadError> {
    events::read(&mut log.as_bytes(), |_, _| true)
}

fn line(t: u64, event: &str, rest: &str) -> String {
    format!("{{\"t\":{t},{FLOW},\"event\":\"{event}\",{rest}}}\n")
}

fn now(una: u64, cwnd: u32, in_flight: u32) -> String {
    format!(
        "\"state\":\"ESTABLISHED\",\"now\":{{\"una\":{una},\"cwnd\":{cwnd},\"in_flight\":{in_flight},\"srtt\":10000000}}"
    )
}

/// A transfer of so many segments, each acknowledged 10 ms later; the one in the middle is lost and
/// sent again.
fn transfer(segments: u64) -> String {
    let mut log = START.to_owned();
    log += &line(
        0,
        "received",
        "\"seq\":0,\"flags\":\"S\",\"window\":64240,\"state\":\"SYN-RECEIVED\"",
    );
    log += &line(
        1000,
        "state",
        "\"from\":\"SYN-RECEIVED\",\"state\":\"ESTABLISHED\"",
    );
    for n in 0..segments {
        let (at, seq) = (1_000_000 + n * 100_000, 1 + n * 1000);
        let sent = format!(
            "\"seq\":{seq},\"ack\":1,\"flags\":\"A\",\"len\":1000,\"window\":65535,\"why\":\"new data\",{}",
            now(seq, 20_000, 1000)
        );
        log += &line(at, "sent", &sent);
        if n == segments / 2 {
            let begin = "\"what\":\"begin\",\"by\":\"RACK\",\"until\":9000";
            log += &line(
                at + 10,
                "recovery",
                &format!("{begin},{}", now(seq, 10_000, 1000)),
            );
            log += &line(
                at + 10,
                "loss",
                &format!("\"bytes\":1000,{}", now(seq, 10_000, 0)),
            );
            let again = format!(
                "\"seq\":{seq},\"ack\":1,\"flags\":\"A\",\"len\":1000,\"window\":65535,\"why\":\"fast retransmit\",\"again\":true,{}",
                now(seq, 10_000, 1000)
            );
            log += &line(at + 20, "sent", &again);
            log += &line(
                at + 30,
                "recovery",
                &format!("\"what\":\"end\",{}", now(seq, 10_000, 0)),
            );
        }
        let acked = format!(
            "\"seq\":1,\"ack\":{},\"flags\":\"A\",\"window\":65535,\"acked\":1000,\"rtt\":10000000,{}",
            seq + 1000,
            now(seq + 1000, 20_000, 0)
        );
        log += &line(at + 50_000, "received", &acked);
    }
    log
}

fn only(log: &Log) -> &Trace {
    let [trace] = &log.traces[..] else {
        panic!("{} connections", log.traces.len());
    };
    trace
}

#[test]
fn a_log_is_read_as_it_was_written() {
    let log = read(&transfer(10)).expect("a log");
    let trace = only(&log);
    assert_eq!(trace.local, "10.0.0.2:80".parse::<SocketAddr>().unwrap());
    assert_eq!(trace.sent.len(), 11);
    assert_eq!(trace.sent[0].seq, 1);
    let again: Vec<_> = trace
        .sent
        .iter()
        .filter(|sent| sent.kind == Kind::FastRetransmit)
        .collect();
    assert!(
        matches!(
            again[..],
            [Segment {
                seq: 5001,
                len: 1000,
                ..
            }]
        ),
        "{again:?}"
    );
    assert_eq!(
        series::acknowledged(&trace.received).last().unwrap().1 as u64,
        10_001
    );
    assert_eq!(trace.round_trips.len(), 10);
    let [recovery] = &trace.recoveries[..] else {
        panic!("{:?}", trace.recoveries);
    };
    assert_eq!(
        (&*recovery.by, recovery.lost, recovery.undone),
        ("RACK", 1000, false)
    );
    assert!(recovery.to.is_some_and(|to| to > recovery.from));
    assert_eq!(trace.states, [(1e-6, "ESTABLISHED".to_owned())]);
}

#[test]
fn the_page_says_what_happened_and_is_well_formed() {
    let log = read(&transfer(200)).expect("a log");
    let html = page(only(&log), None, "ustack plot x.jsonl").to_html();
    let body = html.split_once("<body>").expect("a body").1;
    for text in [
        "10.0.0.2:80 \u{2194} 10.0.0.1:4000",
        "sequence number, sent",
        "fast retransmit",
        "congestion window",
        "round trip",
        "throughput",
        "noticed by RACK: repaired",
        "201\u{202f}000",
    ] {
        assert!(body.contains(text), "{text} is missing");
    }
    for figure in body.split("<figure>").skip(1) {
        let svg = figure.split("</figure>").next().expect("a figure");
        let document = roxmltree::Document::parse(svg).expect("well-formed");
        for node in document.descendants() {
            for attribute in node.attributes() {
                assert!(!attribute.value().contains("NaN"), "{}", attribute.value());
            }
        }
    }
}

/// 100,000 events make a page that a browser opens at once.
#[test]
fn a_long_transfer_makes_a_small_page() {
    let log = read(&transfer(50_000)).expect("a log");
    let trace = only(&log);
    assert!(trace.sent.len() + trace.received.len() > 100_000);
    let html = page(trace, None, "").to_html();
    assert!(html.len() < 2_000_000, "{} bytes", html.len());
}

#[test]
fn a_part_of_time_begins_with_what_held_before() {
    let window = Window { from: 1.5, to: 3.5 };
    let points = vec![(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (4.0, 5.0)];
    assert_eq!(window.clip(&points), [(1.5, 2.0), (2.0, 3.0), (3.5, 3.0)]);
    assert_eq!(window.clip(&[]), []);
    assert_eq!(window.clip(&[(9.0, 1.0)]), []);
}

#[test]
fn rates_add_up_to_what_was_sent() {
    let totals: Vec<_> = (1..=1000)
        .map(|n| (f64::from(n) / 100.0, f64::from(n) * 500.0))
        .collect();
    let window = Window {
        from: 0.0,
        to: 10.0,
    };
    let rates = rate(&totals, window, 40.0, 0.0);
    let sum: f64 = rates
        .windows(2)
        .map(|pair| pair[0].1 * (pair[1].0 - pair[0].0))
        .sum();
    assert!((sum - 500_000.0).abs() < 1.0, "{sum}");
}

#[test]
fn each_kind_of_segment_has_its_extents() {
    let log = read(&transfer(10)).expect("a log");
    let window = Window { from: 0.0, to: 1.0 };
    let kinds = extents(&only(&log).sent, window);
    assert_eq!(kinds[&Kind::New].len(), 20);
    let again: Vec<_> = kinds[&Kind::FastRetransmit]
        .iter()
        .map(|point| point.1)
        .collect();
    assert_eq!(again, [5001.0, 6001.0]);
}

#[test]
fn a_port_used_again_is_another_connection() {
    let mut log = transfer(3);
    log += &line(
        2_000_000,
        "state",
        "\"from\":\"LAST-ACK\",\"state\":\"CLOSED\"",
    );
    log += &line(
        3_000_000,
        "received",
        "\"seq\":0,\"flags\":\"S\",\"window\":64240,\"state\":\"SYN-RECEIVED\"",
    );
    log += &line(
        4_000_000,
        "state",
        "\"from\":\"SYN-RECEIVED\",\"state\":\"ESTABLISHED\"",
    );
    let log = read(&log).expect("a log");
    assert_eq!(log.traces.len(), 2);
    assert_eq!(log.traces[1].received.len(), 1);
}

#[test]
fn connections_are_chosen_and_segments_of_none_left_out() {
    let mut log = transfer(3);
    let nobody = "\"shard\":0,\"local\":\"10.0.0.2:81\",\"remote\":\"10.0.0.1:4001\"";
    let _ = writeln!(
        log,
        "{{\"t\":5,{nobody},\"event\":\"received\",\"state\":\"CLOSED\",\"flags\":\"S\",\"dropped\":\"no socket\"}}"
    );
    assert_eq!(read(&log).expect("a log").traces.len(), 1);
    let none = events::read(&mut log.as_bytes(), |local, _| local.port() == 443);
    assert_eq!(none.expect("a log").traces.len(), 0);
}

#[test]
fn a_log_cut_short_tells_what_it_has() {
    let whole = transfer(10);
    for end in START.len()..whole.len() {
        let log = read(&whole[..end]).expect("a log");
        let is_whole = whole[..end].ends_with('\n') || whole[..=end].ends_with('\n');
        assert_eq!(log.is_cut, !is_whole, "cut at {end}");
    }
}

#[test]
fn what_is_no_log_is_refused() {
    for text in ["", "\n", "hello\n", "{\"event\":\"sent\"}\n", "\u{0}\u{1}"] {
        assert!(matches!(read(text), Err(ReadError::NoLog)), "{text:?}");
    }
    let later = START.replace("\"schema\":1", "\"schema\":7");
    assert!(matches!(read(&later), Err(ReadError::Schema(7))));
    let torn = format!("{START}{{\"event\":\n{}", line(1, "loss", "\"bytes\":1"));
    assert!(matches!(read(&torn), Err(ReadError::Line { line: 2, .. })));
}

#[test]
fn what_the_log_missed_is_told() {
    let log = format!("{START}{{\"event\":\"dropped\",\"t\":5,\"shard\":0,\"count\":17}}\n");
    assert_eq!(read(&log).expect("a log").missing, 17);
}

#[test]
fn a_window_far_above_the_data_is_left_out() {
    let edge_of = |bytes: &str| {
        let window = format!("\"window\":{bytes},\"acked\"");
        let log = transfer(10).replace("\"window\":65535,\"acked\"", &window);
        let log = read(&log).expect("a log");
        let (from, to) = only(&log).span();
        let chart = figure::sent(only(&log), "", Window { from, to });
        let mut lines = chart.panels[0].lines.clone().into_iter();
        lines.find(|line| line.stroke == Stroke::Dashed)
    };
    assert!(edge_of("900000000").is_none());
    let edge = edge_of("3000").expect("a line for the window");
    assert_eq!(edge.points.last().map(|point| point.1 as u32), Some(13));
}
