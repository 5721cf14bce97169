//! What Linux tells of a connection in `struct tcp_info`, under its names and in its units.

use core::time::Duration;

use crate::connection::State;

/// `tcpi_ca_state`: where the sender stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum CaState {
    /// `TCP_CA_Open`: nothing unusual.
    #[default]
    Open,
    /// `TCP_CA_Disorder`: SACKs or duplicates have come, nothing counts as lost yet.
    Disorder,
    /// `TCP_CA_CWR`: the window is being reduced for ECN.
    Cwr,
    /// `TCP_CA_Recovery`: losses that ACKs showed are being repaired.
    Recovery,
    /// `TCP_CA_Loss`: losses that a timeout showed are being repaired.
    Loss,
}

/// A connection from inside (`TCP_INFO`). Counts of segments are in units of `snd_mss`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Info {
    /// RFC 9293 state.
    pub state: Option<State>,
    /// Where the sender stands.
    pub ca_state: CaState,
    /// Timeouts in a row.
    pub retransmits: u8,
    /// Unanswered probes of a closed window or of an idle peer.
    pub probes: u8,
    /// Doublings of the RTO, or of the interval between probes.
    pub backoff: u8,
    /// Timestamps are in use (`TCPI_OPT_TIMESTAMPS`).
    pub timestamps: bool,
    /// SACK is in use (`TCPI_OPT_SACK`).
    pub sack: bool,
    /// ECN was negotiated (`TCPI_OPT_ECN`).
    pub ecn: bool,
    /// The shift of the peer's window field, and of ours.
    pub window_scale: (u8, u8),
    /// The retransmission timeout, backed off.
    pub rto: Duration,
    /// How long an ACK may be delayed.
    pub ato: Duration,
    /// Payload of a full segment, in bytes.
    pub snd_mss: u32,
    /// The largest segment that the peer has sent, in bytes, as far as it is known.
    pub rcv_mss: u32,
    /// The MSS that we have offered.
    pub advmss: u32,
    /// Segments sent and not yet acknowledged.
    pub unacked: u32,
    /// Of these, how many SACK has reported.
    pub sacked: u32,
    /// Of these, how many were judged lost, be they on their way again or not.
    pub lost: u32,
    /// Of these, how many are on their way again.
    pub retrans: u32,
    /// The largest distance over which segments have overtaken others, 3 at least.
    pub reordering: u32,
    /// Since data was last sent.
    pub last_data_sent: Option<Duration>,
    /// Since anything was last received.
    pub last_ack_recv: Duration,
    /// The path MTU in use, in bytes of IP packet.
    pub pmtu: u16,
    /// SRTT, once it is known.
    pub rtt: Option<Duration>,
    /// RTTVAR.
    pub rttvar: Duration,
    /// The smallest round trip seen lately.
    pub min_rtt: Option<Duration>,
    /// Slow start threshold in bytes; `None` before the first reduction.
    pub snd_ssthresh: Option<u32>,
    /// Congestion window in bytes.
    pub snd_cwnd: u32,
    /// The peer's window in bytes.
    pub snd_wnd: u32,
    /// Segments sent again so far.
    pub total_retrans: u64,
    /// Bytes that the peer has acknowledged so far.
    pub bytes_acked: u64,
    /// Bytes received in order so far.
    pub bytes_received: u64,
    /// Bytes written and not yet sent.
    pub notsent_bytes: u32,
}
