//! Each invariant sees what breaks it.

use super::*;
use crate::connection::Negotiated;
use crate::error::CloseReason;
use crate::segment::{FlowKey, SynOptions};
use crate::seq::{WindowScale, WireSeq};
use crate::time::Duration;
use bytes::Bytes;
use std::vec::Vec;

const NOW: Instant = Instant::from_millis(10);

/// A connection with 1,000 bytes in flight and 9,000 more to send.
fn connection() -> Connection {
    let address = |text: &str| text.parse().expect("an address");
    let settled = Negotiated {
        flow: FlowKey {
            local: address("10.0.0.1:80"),
            remote: address("10.0.0.2:4000"),
        },
        options: crate::SocketOptions::default().into(),
        listener: None,
        iss: WireSeq(u32::MAX - 100),
        irs: WireSeq(0),
        peer: SynOptions {
            mss: Some(1000),
            ..SynOptions::default()
        },
        ecn: false,
        wnd: 20_000,
        our_window: 60_000,
        our_scale: WindowScale::default(),
        ts_offset: 0,
        rtt: Some(Duration::from_millis(10)),
        retransmits: 0,
        path_mtu: 1500,
        syn_data_acked: 0,
        data: Bytes::new(),
    };
    let mut conn = Connection::new(NOW, &Config::default(), &settled);
    let written = conn.write(&Bytes::from(std::vec![7; 10_000]));
    assert_eq!(written, Ok(10_000));
    let first = conn.snd.nxt..conn.snd.nxt + 1000u32;
    conn.on_sent_new(NOW, &first, 1000);
    conn.check_invariants(NOW, &Config::default(), false);
    conn
}

/// What is found broken after `harm`.
fn broken(waits: bool, harm: impl FnOnce(&mut Connection)) -> Option<&'static str> {
    let mut conn = connection();
    harm(&mut conn);
    let mut watch = conn.watch.take().expect("it was checked");
    conn.held(&mut watch, &Config::default(), waits).err()
}

#[test]
fn a_sound_connection_passes() {
    assert_eq!(broken(false, |_| {}), None);
    assert_eq!(broken(true, |_| {}), None);
}

#[test]
fn sequence_numbers_are_held_in_order() {
    let below = |seq: SeqNum| seq.saturating_sub(1);
    let found = [
        broken(false, |conn| conn.snd.nxt = conn.snd.end() + 1u32),
        broken(false, |conn| conn.snd.una = below(conn.snd.una)),
        broken(false, |conn| conn.snd.nxt = below(conn.snd.nxt)),
        broken(false, |conn| conn.snd.una += 2),
        broken(false, |conn| conn.bytes_received += 1),
        broken(false, |conn| conn.snd.wnd = conn.snd.max_wnd + 1),
        broken(false, |conn| conn.snd.up = Some(conn.snd.una)),
        broken(false, |conn| conn.snd.wl2 = conn.snd.nxt),
    ];
    assert_eq!(
        found.into_iter().flatten().collect::<Vec<_>>(),
        [
            "SND.UNA <= SND.NXT <= the end of what was written",
            "SND.UNA never goes back",
            "SND.NXT never goes back",
            "SND.UNA moves by what was acknowledged",
            "RCV.NXT moves by what was received",
            "SND.WND <= MAX.SND.WND",
            "SND.UNA < SND.UP <= the end of what was written",
            "SND.WL2 <= SND.UNA",
        ]
    );
}

#[test]
fn timers_run_as_the_state_allows() {
    let persist = Some((NOW, LossTimer::Persist));
    let running = "the retransmission timer runs if and only if something is in flight";
    let found = [
        broken(false, |conn| conn.timers.loss = None),
        broken(false, |conn| conn.timers.loss = persist),
        broken(false, |conn| conn.timers.rto_since = None),
        broken(false, |conn| conn.timers.persist_backoff = 1),
        broken(false, |conn| conn.timers.cork = Some(NOW)),
        broken(false, |conn| conn.timers.entered_time_wait = Some(NOW)),
        broken(false, |conn| conn.keepalive_probes = 1),
        broken(true, |conn| conn.timers.probe_owed = true),
        broken(true, |conn| conn.acks.owe(crate::observe::AckWhy::Data)),
    ];
    assert_eq!(
        found.into_iter().flatten().collect::<Vec<_>>(),
        [
            running,
            running,
            "the retransmission timer has a start",
            "only a shut window is probed ever less often",
            "only a cork holds back",
            "2MSL are measured in TIME-WAIT",
            "keep-alive probes are timed",
            "a probe that is due leaves at once",
            "an ACK that is due leaves at once",
        ]
    );
}

#[test]
fn the_state_tells_where_both_fins_are() {
    let found = [
        broken(false, |conn| conn.snd.fin = Fin::Sent),
        broken(false, |conn| conn.close_reason = Some(CloseReason::Reset)),
        broken(false, |conn| conn.orphan = true),
        broken(false, |conn| conn.state = State::Closed),
        broken(false, |conn| {
            conn.watch.as_mut().expect("it was checked").state = State::LastAck;
        }),
    ];
    assert_eq!(
        found.into_iter().flatten().collect::<Vec<_>>(),
        [
            "our FIN has come as far as the state says",
            "what is not CLOSED has no reason to be",
            "an orphan says FIN",
            "CLOSED has a reason",
            "states follow figure 5",
        ]
    );
    assert_eq!(broken(true, |conn| conn.close(CloseReason::Reset)), None);
}

#[test]
fn windows_do_not_fall_below_a_segment() {
    let small = broken(false, |conn| conn.cc.set_window(20_000, 1));
    assert_eq!(small, Some("ssthresh >= 2 SMSS"));
}

#[test]
fn counters_are_recounted() {
    let found = broken(false, |conn| {
        conn.snd.flight = crate::send::Flight::default();
    });
    assert_eq!(found, Some("the flight covers SND.UNA..SND.NXT"));
}

#[test]
#[should_panic(expected = "SND.WND <= MAX.SND.WND")]
fn what_is_broken_has_a_name_and_the_variables() {
    let mut conn = connection();
    conn.snd.wnd += 1;
    conn.check_invariants(NOW, &Config::default(), false);
}
