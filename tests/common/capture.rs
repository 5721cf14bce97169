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
    // Putting bodies of megabytes together takes it minutes and says nothing about packets.
    tshark.args(["-o", "tcp.desegment_tcp_streams:FALSE"]);
    tshark.args(["--disable-protocol", "http"]);
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
    /// Segments that the stack sent again, for whatever reason.
    pub(crate) retransmissions: usize,
    /// Segments that the kernel's client sent again: tail loss probes.
    pub(crate) probes: usize,
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
        let mut fields = vec![
            "frame.protocols",
            "frame.packet_flags_direction",
            "tcp.checksum",
            "_ws.malformed",
        ];
        fields.extend(CHECKSUMS);
        fields.extend(RETRANSMISSIONS);
        fields.extend([
            "tcp.analysis.out_of_order",
            "tcp.analysis.lost_segment",
            "tcp.analysis.zero_window",
        ]);
        let mut verdict = Self::default();
        for packet in tshark(file, filter, &fields) {
            let (about, rest) = packet.split_at(3);
            let [protocols, direction, tcp_checksum] = about else {
                unreachable!("three fields")
            };
            let (malformed, rest) = rest.split_at(1);
            let (checksums, rest) = rest.split_at(CHECKSUMS.len());
            // An ICMP error quotes the packet as it came: over an offload device with a checksum
            // that nobody has finished. Only its own is judged.
            let quotes = protocols.contains(":icmp:ip") || protocols.contains(":icmpv6:ip");
            let judged = if quotes { &checksums[3..] } else { checksums };
            let (again, rest) = rest.split_at(RETRANSMISSIONS.len());
            let any = |fields: &[String]| usize::from(fields.iter().any(|field| !field.is_empty()));
            verdict.packets += 1;
            verdict.malformed += any(malformed);
            // 0 is "Bad", 1 "Good", 2 "Unverified", 3 "Not present".
            // The kernel writes a TCP checksum of zero as all ones, which verifies as well
            // (RFC 1624 §3); Wireshark wants the one form.
            let all_ones = tcp_checksum == "0xffff";
            verdict.bad_checksum +=
                usize::from(!all_ones && judged.iter().any(|status| status == "0"));
            match direction.as_bytes().last() {
                Some(b'1') => verdict.probes += any(again),
                _ => verdict.retransmissions += any(again),
            }
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
        // A client probes when its last segment is not acknowledged within two round trips (RFC
        // 8985 §7.2), here fractions of a millisecond: a busy machine is enough for a few.
        assert!(self.probes as u64 <= dropped + 10, "{self:?}");
        // The program hashes uploads, slower than a client on the same machine can send them.
        assert!(self.zero_windows <= 5, "{self:?}");
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
