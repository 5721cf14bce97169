//! What is written of what happened.

use std::hint::black_box;
use std::net::SocketAddr;
use std::num::NonZeroU64;

use ustack::observe::json::Lines;
use ustack_tcp::observe::{AckWhy, Blocks, Outcome, Packet, Phase, Record, Variables, What, Why};
use ustack_tcp::seq::{WindowScale, WireSeq};
use ustack_tcp::time::Instant;
use ustack_tcp::{Flags, FlowKey, State};

use super::Workload;

/// Lines of the event log: a segment arrives, its ACK leaves.
///
/// A unit is a line.
pub struct EventLines {
    records: [Record; 2],
    text: String,
}

impl Default for EventLines {
    /// Lines of a connection over IPv4 that all is well with.
    fn default() -> Self {
        let end = |host, port| SocketAddr::from(([10, 77, 0, host], port));
        let packet = Packet {
            seq: WireSeq(3_123_456_789),
            ack: WireSeq(1_987_654_321),
            flags: Flags::ACK,
            len: 0,
            segments: 1,
            size: 0,
            window: 131_072,
            sack: Blocks::new(&[]),
        };
        let arrived = Packet {
            len: 1448,
            size: 1448,
            ..packet
        };
        let outcome = Outcome {
            in_order: 1448,
            ..Outcome::default()
        };
        let whats = [
            What::Received(arrived, outcome),
            What::Sent(packet, Why::Ack(AckWhy::Data)),
        ];
        let record = |what| Record {
            at: Instant::from_micros(12_345_678),
            flow: FlowKey {
                local: end(2, 9),
                remote: end(1, 40_123),
            },
            what,
            state: State::Established,
            now: Some(variables()),
        };
        Self {
            records: whats.map(record),
            text: String::new(),
        }
    }
}

impl Workload for EventLines {
    fn run(&mut self, units: u64) {
        let lines = &mut Lines::default();
        for pair in 0..units / 2 {
            for record in &self.records {
                lines.write(0, black_box(record), &mut self.text);
            }
            if pair % 100 == 99 {
                assert!(black_box(&self.text).ends_with("}\n"), "lines");
                self.text.clear();
            }
        }
    }
}

fn variables() -> Variables {
    Variables {
        iss: WireSeq(1_987_600_000),
        irs: WireSeq(3_000_000_000),
        snd_una: 54_321,
        snd_nxt: 54_321,
        snd_wnd: 64_240,
        rcv_nxt: 123_458_237,
        rcv_wnd: 131_072,
        window_scale: WindowScale::new(7),
        cwnd: 14_480,
        ssthresh: u32::MAX,
        in_flight: 0,
        sacked: 0,
        lost: 0,
        resent: 0,
        twice: 0,
        dup_acked: 0,
        unsent: 0,
        unread: 1448,
        out_of_order: 0,
        mss: 1448,
        srtt: NonZeroU64::new(20_125_000),
        rttvar: 1_250_000,
        rto: 220_125_000,
        backoff: 0,
        stalled_since: None,
        phase: Phase::SlowStart,
    }
}
