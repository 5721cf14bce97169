//! Captures as `tshark` reads them, with every checksum validated.

use std::path::Path;
use std::time::Duration;

use super::process::{command, run};

/// How long `tshark` may take over one file.
const READ: Duration = Duration::from_secs(240);

/// Prints the chosen fields of every packet that passes a display filter, one line each, fields
/// separated by tabs.
pub(crate) fn tshark(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut tshark = command("tshark -n -T fields -E occurrence=f -r");
    tshark.arg(file);
    for protocol in ["ip", "tcp", "udp"] {
        tshark.args(["-o", &format!("{protocol}.check_checksum:TRUE")]);
    }
    for field in fields {
        tshark.args(["-e", field]);
    }
    if !filter.is_empty() {
        tshark.args(["-Y", filter]);
    }
    let finished = run(&mut tshark, READ);
    assert!(finished.status.success(), "{tshark:?}: {}", finished.stderr);
    let text = finished.text();
    text.lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

/// How many packets of a capture Wireshark has something to say about.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// All packets.
    pub(crate) packets: usize,
    /// Packets that do not parse.
    pub(crate) malformed: usize,
    /// Packets with a wrong checksum in any header.
    pub(crate) bad_checksum: usize,
    /// Segments sent again, of any kind.
    pub(crate) retransmissions: usize,
    /// Segments that came late.
    pub(crate) out_of_order: usize,
    /// Segments before which some are missing from the capture.
    pub(crate) gaps: usize,
    /// Segments that close the window.
    pub(crate) zero_windows: usize,
}

impl Verdict {
    /// Reads the packets of a capture that pass a display filter, at least one of them.
    pub(crate) fn of(file: &Path, filter: &str) -> Self {
        let mut fields = vec!["_ws.malformed"];
        fields.extend(CHECKSUMS);
        fields.extend(RETRANSMISSIONS);
        fields.extend([
            "tcp.analysis.out_of_order",
            "tcp.analysis.lost_segment",
            "tcp.analysis.zero_window",
        ]);
        let mut verdict = Self::default();
        for packet in tshark(file, filter, &fields) {
            let (malformed, rest) = packet.split_at(1);
            let (checksums, rest) = rest.split_at(CHECKSUMS.len());
            let (again, rest) = rest.split_at(RETRANSMISSIONS.len());
            let any = |fields: &[String]| usize::from(fields.iter().any(|field| !field.is_empty()));
            verdict.packets += 1;
            verdict.malformed += any(malformed);
            // 0 is "Bad", 1 "Good", 2 "Unverified", 3 "Not present".
            verdict.bad_checksum += usize::from(checksums.iter().any(|status| status == "0"));
            verdict.retransmissions += any(again);
            verdict.out_of_order += any(&rest[..1]);
            verdict.gaps += any(&rest[1..2]);
            verdict.zero_windows += any(&rest[2..]);
        }
        assert!(verdict.packets > 0, "no {filter:?} in {}", file.display());
        verdict
    }

    /// Panics unless every packet is whole.
    pub(crate) fn check_whole(&self) {
        assert_eq!((self.malformed, self.bad_checksum), (0, 0), "{self:?}");
    }

    /// Panics unless the conversation went as on a link that loses nothing but `dropped` packets.
    pub(crate) fn check_clean(&self, dropped: u64) {
        self.check_whole();
        let disturbed = (self.retransmissions + self.out_of_order) as u64;
        assert!(
            disturbed <= dropped,
            "{self:?}; the device dropped {dropped}"
        );
        assert_eq!(self.zero_windows, 0, "{self:?}");
    }
}

const CHECKSUMS: [&str; 5] = [
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
];

const RETRANSMISSIONS: [&str; 3] = [
    "tcp.analysis.retransmission",
    "tcp.analysis.fast_retransmission",
    "tcp.analysis.spurious_retransmission",
];
