//! A capture larger than memory, in a program of its own: neighbours would count as well.

mod common;

use common::{again, read};
use explain::{Explainer, text};

/// What this process has in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("a high-water mark");
    let kilobytes = line.split_whitespace().nth(1).expect("a number");
    1024 * kilobytes.parse::<usize>().expect("a number")
}

/// 64 MB of conversations, of which each begins before the last one ends.
#[test]
fn memory_is_bounded() {
    let one = read("download");
    let size: usize = one.iter().map(|packet| packet.recorded.data.len()).sum();
    let before = resident();
    let mut explainer = Explainer::default();
    let (mut told, mut count) = (0, 0);
    let wanted = (64 << 20) / size;
    for number in 0..wanted {
        let packets = again(&one, number, count);
        count += packets.len();
        for packet in &packets {
            explainer.on_packet(packet);
        }
        while let Some(report) = explainer.poll_report() {
            told += 1;
            assert!(report.findings.is_empty(), "{}", text::describe(&report));
        }
    }
    explainer.finish();
    told += std::iter::from_fn(|| explainer.poll_report()).count();
    assert_eq!((told, explainer.totals().dropped), (wanted, 0));
    let grown = resident().saturating_sub(before);
    assert!(grown < 48 << 20, "{grown} bytes more for {count} packets");
}
