//! Captures larger than memory, cut packets, damaged packets, super-segments, other links.

mod common;

use common::{again, explain, read};
use explain::{Explainer, Limits, text};
use referee::capture::{Cut, Packet};

#[test]
fn what_is_too_much_is_told_early_and_counted() {
    let limits = Limits {
        conversations: 8,
        bytes: 1024,
        waiting: 4,
    };
    let mut explainer = Explainer::new(limits);
    let one = read("download");
    // All SYNs first, then the rest: nobody is over.
    let all: Vec<_> = (0..40).map(|number| again(&one, number, 0)).collect();
    for packets in &all {
        explainer.on_packet(&packets[0]);
    }
    for packets in &all {
        for packet in &packets[1..] {
            explainer.on_packet(packet);
        }
    }
    explainer.finish();
    let reports: Vec<_> = std::iter::from_fn(|| explainer.poll_report()).collect();
    let totals = explainer.totals();
    assert!(totals.dropped >= 32 && totals.shed > 0, "{totals:?}");
    assert_eq!(reports.len(), totals.conversations);
    let early = reports
        .iter()
        .filter(|report| text::describe(report).contains("told before its end"));
    assert_eq!(early.count(), totals.dropped);
}

#[test]
fn reports_come_in_the_order_of_their_beginnings() {
    let numbers: Vec<usize> = explain(&read("curl-parallel"))
        .iter()
        .map(|one| one.number)
        .collect();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}

/// A snap length of 80 bytes: the headers are there.
#[test]
fn cut_packets_are_told_as_well() {
    for name in ["download", "loss-download", "zero-window-client"] {
        let whole = read(name);
        let packets: Vec<Packet> = whole.iter().cloned().map(cut).collect();
        let (before, after) = (&explain(&whole)[0], &explain(&packets)[0]);
        let names = |report: &explain::Report| {
            report
                .findings
                .iter()
                .map(|finding| finding.name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(before), names(after), "{name}");
        assert_eq!(before.ends[1].bytes, after.ends[1].bytes, "{name}");
        assert!(
            after.cut > 0
                && after
                    .notes
                    .iter()
                    .any(|note| note.contains("recorded in part"))
        );
    }
}

fn cut(mut packet: Packet) -> Packet {
    let length = packet.recorded.data.len();
    if length > 80 {
        let mut data = packet.recorded.data[..80].to_vec();
        data.resize(length, 0);
        packet.recorded.data = data.into();
        packet.cut = Some(Cut { held: 80, length });
    }
    packet
}

/// A capture that begins after the handshake says so, and accuses nobody.
#[test]
fn a_capture_may_begin_in_the_middle() {
    let packets = &read("download")[9..];
    let report = &explain(packets)[0];
    assert_eq!(report.began, explain::Began::Middle);
    assert!(report.findings.is_empty(), "{}", text::describe(report));
    assert!(
        report.notes[0].starts_with("the capture begins in the middle"),
        "{:?}",
        report.notes
    );
    // The server has the port that was waited for.
    assert_eq!(report.server.port(), 80);
}

/// What a host captures of itself has checksums that its device would write.
#[test]
fn unfinished_checksums_are_no_damage() {
    let whole = read("download");
    let mut packets = whole.clone();
    for packet in &mut packets {
        let mut data = packet.recorded.data.to_vec();
        data[10..12].fill(0);
        packet.recorded.data = data.into();
    }
    let (before, after) = (&explain(&whole)[0], &explain(&packets)[0]);
    assert_eq!(text::describe(before), text::describe(after));
    // Some devices leave them to themselves altogether.
    for packet in &mut packets {
        let mut data = packet.recorded.data.to_vec();
        if data[12..16] == [10, 88, 0, 2] {
            data[36..38].fill(0x11);
        }
        packet.recorded.data = data.into();
    }
    let told = text::describe(&explain(&packets)[0]);
    assert!(told.contains("\n   nothing unusual\n"), "{told}");
}

/// Two neighbours in one frame, as a capture before offload has them.
#[test]
fn super_segments_are_segments() {
    let packets = join(&read("download"));
    assert!(
        packets
            .iter()
            .any(|packet| packet.recorded.data.len() > 2800)
    );
    let report = &explain(&packets)[0];
    assert!(report.findings.is_empty(), "{}", text::describe(report));
    assert_eq!(
        report.ends[1].bytes,
        explain(&read("download"))[0].ends[1].bytes
    );
    assert!(
        report
            .notes
            .iter()
            .any(|note| note.contains("larger than any wire's"))
    );
}

fn join(packets: &[Packet]) -> Vec<Packet> {
    let mut joined: Vec<Packet> = Vec::new();
    for packet in packets {
        let data = &packet.recorded.data;
        let payload = common::edit::payload(data);
        let before = joined.last_mut().filter(|before| {
            let data = &before.recorded.data;
            let length = common::edit::payload(data);
            let next = common::edit::seq(data).wrapping_add(length as u32);
            let same_way = data[12..16] == packet.recorded.data[12..16];
            same_way
                && data[40..52] == packet.recorded.data[40..52]
                && length > 1000
                && payload > 1000
                && next == common::edit::seq(&packet.recorded.data)
        });
        let Some(before) = before else {
            joined.push(packet.clone());
            continue;
        };
        let mut whole = before.recorded.data.to_vec();
        whole.extend(&data[data.len() - payload..]);
        let length = whole.len() as u16;
        whole[2..4].copy_from_slice(&length.to_be_bytes());
        common::edit::finish(&mut whole);
        before.recorded.data = whole.into();
    }
    joined
}

/// Recorders lose packets, too: nobody is accused of that.
#[test]
fn packets_that_the_recorder_missed_are_no_loss() {
    let mut packets = read("download");
    let before = packets.len();
    packets.retain(|packet| packet.recorded.number % 9 != 0);
    assert!(packets.len() < before);
    let report = &explain(&packets)[0];
    let told = text::describe(report);
    assert!(report.findings.is_empty(), "{told}");
    assert!(
        told.contains("bytes arrived that the capture does not have"),
        "{told}"
    );
}

#[test]
fn one_direction_is_half_of_a_story() {
    for (name, client) in [("download", true), ("download", false), ("upload", true)] {
        let mut packets = read(name);
        let address = if client {
            [10, 88, 0, 1]
        } else {
            [10, 88, 0, 2]
        };
        packets.retain(|packet| packet.recorded.data[12..16] == address);
        let reports = explain(&packets);
        let told = text::describe(&reports[0]);
        assert_eq!(reports.len(), 1);
        assert!(reports[0].findings.is_empty(), "{told}");
        assert!(told.contains("half of the story is missing"), "{told}");
    }
}

/// A segment with a wrong checksum is lost to its receiver, who gets it once more.
#[test]
fn damage_is_told() {
    let mut packets = read("loss-download");
    for packet in &mut packets {
        if packet.recorded.lost {
            let mut data = packet.recorded.data.to_vec();
            let last = data.len() - 1;
            data[last] ^= 0x40;
            packet.recorded.data = data.into();
        }
    }
    let report = &explain(&packets)[0];
    assert_eq!(
        report.findings[0].name,
        "damaged",
        "{}",
        text::describe(report)
    );
    assert!(report.findings[0].evidence[0].starts_with("3 of "));
}
